"""Paths against whole runs with everything else held, sums that must come out, a linear model, and refusals."""

from itertools import combinations

import pytest
import torch
from oracles_edges import path_effect, random_pairs

from circuits import plain
from circuits.causes import metrics, pair_runs, places
from circuits.causes.nodes import Node, parse_node
from circuits.causes.pair_runs import chunks, windows
from circuits.causes.path_patching import path_effects, path_patch
from circuits.causes.places import TARGET
from circuits.causes.senders import senders_before, senders_into
from circuits.checkpoints import Shape
from circuits.directions import Directions
from circuits.errors import InputError


@pytest.fixture(scope="module")
def model(tiny):
    return plain.of(tiny)


@pytest.fixture(scope="module")
def pairs():
    """Pairs that differ from one ply, and from several plies before the end on."""
    from circuits.causes.pairs import join

    return join([random_pairs(4, seed=1), random_pairs(5, seed=2, depth=7)])


@pytest.fixture(scope="module")
def metric():
    return metrics.logit_difference("C2", "F5")


def close(ours, theirs, tolerance=1e-4):
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max()) <= tolerance * max(1.0, float(theirs.abs().max()))


def refused(function, *arguments, **options) -> str:
    with pytest.raises(InputError) as info:
        function(*arguments, **options)
    assert "\n" not in str(info.value)
    return str(info.value)


def test_windows_hold_every_pair_once_and_all_that_differs(pairs, monkeypatch):
    for positions in (1024, 12):
        monkeypatch.setattr(pair_runs, "POSITIONS", positions)
        found = list(windows(pairs))
        assert sorted(torch.cat([w.pair for w in found]).tolist()) == list(range(len(pairs)))
        for w in found:
            assert len(w.pair) == 1 or len(w.pair) * w.width <= positions
            assert bool((w.start <= pairs.first[w.pair]).all() and (w.start >= 0).all())
            assert torch.equal(w.start + w.end, pairs.ply[w.pair])
            assert int(w.end.max()) < w.width
    assert len(found) > 1


@torch.no_grad()
def test_runs_in_windows_are_whole_runs(model, pairs, metric, monkeypatch):
    row = torch.arange(len(pairs))
    truth = {name: metric(model(getattr(pairs, name)[:, :59])[row, pairs.ply], row) for name in ("clean", "corrupt")}
    monkeypatch.setattr(pair_runs, "POSITIONS", 20)
    for whole in (False, True):
        for chunk in chunks(model, pairs, 6, base="corrupt", whole=whole):
            rows = chunk.window.pair
            close(chunk.value(chunk.base.stream[6], metric), truth["corrupt"][rows])
            close(chunk.value(chunk.run(pairs.clean[rows], 6).stream[6], metric), truth["clean"][rows])


@pytest.mark.parametrize("direction", ["clean → corrupt", "corrupt → clean"])
@pytest.mark.parametrize(
    "path",
    [
        ("embed", "L1H2.q"),
        ("embed", "L2H0.k", "target"),
        ("L0H1", "L1H2.v"),
        ("L0H1", "target"),
        ("L1N5", "L2H3.k"),
        ("L0N7", "L1N9"),
        ("L1H0", "L1N3"),
        ("embed", "L0H0.v", "L1N11", "L2H2.v", "target"),
        ("L0H3", "L0N100", "L2N4"),
    ],
)
def test_paths_are_those_of_whole_runs_with_the_rest_held(model, pairs, metric, path, direction):
    found = path_patch(model, pairs, path[0], path[-1], metric, through=path[1:-1], direction=direction)
    nodes = [TARGET if name == TARGET else parse_node(name) for name in path]
    close(found.effects, path_effect(model, pairs, nodes, metric, direction))
    assert found.path == path
    assert found.effects.abs().max() > 0


def test_the_bridge_gives_the_same(tiny, model, pairs, metric):
    ours, theirs = (path_patch(m, pairs, "embed", "L2 MLP", metric, through=("L1H2",)) for m in (model, tiny))
    close(ours.effects, theirs.effects)


def test_parts_of_a_head_and_of_a_layer(model, pairs, metric):
    """A value is read linearly, so a layer's effect on a later one's direct reading is its parts' together."""

    def effects(sender, receiver, **options):
        return path_patch(model, pairs, sender, receiver, metric, layer_norm="frozen", **options).effects

    whole = effects("L0 attn", "target", through=("L1H1.v",))
    close(whole, sum(effects(f"L0H{i}", "target", through=("L1H1.v",)) for i in range(4)))
    close(effects("L1 attn", "target"), sum(effects(f"L1H{i}", "target") for i in range(4)))
    close(effects("L1 MLP", "target"), sum(effects(f"L1N{i}", "target") for i in range(128)))
    # The same change of the value, read by all heads at once, and after it nothing bends.
    close(
        effects("embed", "target", through=("L2 attn",)),
        sum(effects("embed", "target", through=(f"L2H{i}",)) for i in range(4)),
    )


def test_identities_of_the_whole(model, pairs, metric):
    """Everything that writes before the receiver, patched together, is the receiver's own value in the other run."""
    row = torch.arange(len(pairs))
    for direction, total in (("clean → corrupt", 1), ("corrupt → clean", -1)):
        found = path_patch(model, pairs, "embed", "L0 attn", metric, direction=direction)
        clean, corrupt = (metric(model(t[:, :59])[row, pairs.ply], row) for t in (pairs.clean, pairs.corrupt))
        close(found.total, total * (clean - corrupt))
        close(found.baseline, corrupt if total == 1 else clean)


def linear_model(layers: int = 3):
    """Uniform attention (no queries or keys), neurons far up a ReLU: linear but for LayerNorm."""
    shape = Shape(layers, 16, 2, 4, 8, act="relu")
    generator = torch.Generator().manual_seed(5)
    from circuits.checkpoints import weight_shapes

    weights = {name: 0.4 * torch.randn(size, generator=generator) for name, size in weight_shapes(shape).items()}
    for name in weights:
        if name.endswith(("W_Q", "b_Q", "W_K", "b_K")):
            weights[name].zero_()
        if name.endswith("mlp.b_in"):
            weights[name].fill_(8.0)
            weights[name.replace("in", "out")] = -8.0 * weights[name.replace("b_in", "W_out")].sum(0)
        if name.endswith(".w"):
            weights[name].fill_(1.0)
    return plain.build(shape, weights, {}, "linear")


def test_in_a_linear_model_direct_and_all_indirect_paths_make_the_total(pairs, metric):
    """Every path of every length from the embedding to the logits, heads and MLPs on the way."""
    model = linear_model()
    names = [f"L{i}{part}" for i in range(3) for part in ("H0", "H1", " MLP")]
    # No path leads through two heads of one layer.
    ways = [
        through
        for length in range(7)
        for through in combinations(names, length)
        if not any(a[:3] == b[:3] == a[:2] + "H" for a, b in combinations(through, 2))
    ]
    assert len(ways) == (1 + 2) ** 3 * 2**3
    effects = path_effects(model, pairs, [("embed", *way, "target") for way in ways], metric, layer_norm="frozen")
    parts, longest = effects.sum(0), effects[[len(way) > 3 for way in ways]].sum(0)
    with torch.no_grad():
        for chunk in chunks(model, pairs, 6, base="corrupt", layer_norm="frozen"):
            rows = chunk.window.pair
            base = chunk.value(chunk.base.stream[6], metric)
            total = chunk.value(chunk.run(pairs.clean[rows], 6).stream[6], metric) - base
            close(parts[rows], total)
            assert longest[rows].abs().max() > 0.01 * total.abs().max()


@pytest.mark.parametrize("receiver", ["L0N3", "L1H2.q", "L2H1.k", "L2H0.v", "L2N100", "logits", "coordinate"])
def test_all_senders_add_up_and_each_is_its_own_patch(model, pairs, metric, receiver):
    vector = torch.randn(64, generator=torch.Generator().manual_seed(1))
    vector = (vector - vector.mean()) / (vector - vector.mean()).norm()
    direction = Directions(vector[None], ("X",), "blocks.1.hook_resid_mid", "test")
    targets = {"logits": metric, "coordinate": metrics.coordinate(direction, "X")}
    found = senders_into(model, pairs, targets.get(receiver, receiver))
    assert found.frozen.shape == found.recomputed.shape == (len(found.nodes), len(pairs))
    close(found.frozen.sum(0), found.sum)
    # One at a time, by the definition.
    for row in (0, 1, *found.top(3), *found.top(2, "neuron")):
        for which, layer_norm in (("frozen", "frozen"), ("recomputed", "recomputed")):
            slow = one_sender(model, pairs, found.nodes[row], targets.get(receiver, receiver), layer_norm)
            close(getattr(found, which)[row], slow)


@torch.no_grad()
def one_sender(model, pairs, sender, receiver, layer_norm):
    """The receiver's reading of the base stream and one sender's change, by path patching's own parts."""
    named = not isinstance(receiver, metrics.Metric)
    place = places.read_at(parse_node(receiver)) if named else places.place_of_point(receiver.point, model.shape)
    effects = torch.zeros(len(pairs))
    for chunk in chunks(model, pairs, place, base="corrupt", layer_norm=layer_norm):
        rows = chunk.window.pair
        run = chunk.recomputed.run(pairs.clean[rows], place)
        x = chunk.base.stream[place]
        changed = x + run.written(model, sender) - chunk.base.written(model, sender)
        if not named:
            effects[rows] = chunk.value(changed, receiver) - chunk.value(x, receiver)
            continue
        node = parse_node(receiver)

        def read(stream, chunk=chunk, node=node):
            n = chunk.window.last(chunk.normalised(place, stream))
            if node.kind == "neuron":
                return n @ model.W_in(node.layer)[:, node.index, None]
            return n @ model.weight(f"blocks.{node.layer}.attn.W_{node.kind.upper()}")[node.index]

        along = torch.ones(len(rows), 1)
        if node.kind != "neuron":
            free = chunk.recomputed
            ends = [free.window.last(free.normalised(place, s)) for s in (run.stream[place], x)]
            W = model.weight(f"blocks.{node.layer}.attn.W_{node.kind.upper()}")[node.index]
            along = torch.nn.functional.normalize((ends[0] - ends[1]) @ W, dim=-1)
        effects[rows] = ((read(changed) - read(x)) * along).sum(-1)
    return effects


def test_senders_of_a_known_wiring():
    """The only neuron that writes what another one reads is found first."""
    shape = Shape(2, 16, 1, 4, 6, act="relu")
    generator = torch.Generator().manual_seed(2)
    from circuits.checkpoints import weight_shapes

    weights = {name: 0.01 * torch.randn(size, generator=generator) for name, size in weight_shapes(shape).items()}
    weights |= {name: torch.ones_like(w) for name, w in weights.items() if name.endswith(".w")}
    weights["embed.W_E"] = torch.randn(61, 16, generator=generator)
    weights["blocks.0.mlp.b_in"].fill_(1.0)
    a = torch.randn(16, generator=generator)
    weights["blocks.0.mlp.W_in"][:, 4] = torch.randn(16, generator=generator)
    weights["blocks.0.mlp.W_out"][4] = 3 * a
    weights["blocks.1.mlp.W_in"][:, 2] = a
    model = plain.build(shape, weights, {}, "wired")
    found = senders_into(model, random_pairs(6, seed=3), "L1N2")
    size = found.recomputed.abs().mean(1)
    size[0] = 0  # the embedding speaks to everything
    assert str(found.nodes[int(size.argmax())]) == "L0N4"
    assert torch.equal(found["L0N4"], found.recomputed[int(size.argmax())])
    assert found.summary.mean.shape == (len(found.nodes),)
    assert "L1N2 pre-activation" in repr(found)


def test_senders_before_a_place(model):
    assert [str(n) for n in senders_before(model, 1)] == ["embed", "L0H0", "L0H1", "L0H2", "L0H3"]
    assert len(senders_before(model, 6)) == 1 + 3 * (4 + 128)


def test_refusals(model, pairs, metric):
    def patch(*arguments, **options):
        return refused(path_patch, model, pairs, *arguments, **options)

    assert "L2H0 writes" in patch("L2H0", "L1H0.q", metric)
    assert "no path" in patch("L1H0", "L1H1.q", metric)
    assert "no path" in patch("embed", "L1H1.q", metric, through=("L1N3",))
    assert "no sender" in patch("L0H0.q", "L1H1.q", metric)
    assert "no sender" in patch("L0 post", "L1H1.q", metric)
    assert "no receiver" in patch("embed", "L1 post", metric)
    assert "no receiver" in patch("embed", "L1H1.pattern", metric)
    assert "names no node" in patch("embed", "target", metric, through=("target",))
    assert "no layer 7" in patch("embed", "L7H0.q", metric)
    assert "recomputed, frozen" in patch("embed", "L1H0.q", metric, layer_norm="other")
    assert "clean → corrupt" in patch("embed", "L1H0.q", metric, direction="back")
    early = metrics.Metric("early", "blocks.0.hook_resid_post", lambda x, pair: x[:, 0])
    assert "before L1H0.q writes" in patch("embed", "L1H0.q", early)
    assert "before L1H0 writes" in patch("L1H0", "target", early)
    odd = metrics.Metric("odd", "blocks.0.hook_mlp_out", lambda x, pair: x[:, 0])
    assert "no point" in patch("embed", "target", odd)
    assert "reads many" in refused(senders_into, model, pairs, "L1H0")
    assert "gradient" in refused(senders_into, model, pairs, metrics.top_n_error(pairs))
    solu = plain.build(Shape(1, 16, 1, 4, 6, act="solu"), _random(Shape(1, 16, 1, 4, 6, act="solu")), {}, "solu")
    assert "SoLU" in refused(path_patch, solu, pairs, "embed", "L0N1", metric)
    assert "SoLU" in refused(senders_into, solu, pairs, "L0N1")
    assert refused(senders_into(model, pairs, "L0N1").__getitem__, Node("mlp", 0)).startswith("L0 MLP is no sender")


def _random(shape):
    from circuits.gpt import initial_weights

    return initial_weights(shape, 0)
