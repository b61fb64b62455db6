"""Units mean-ablated one at a time: against whole passes with a hook, and the promises about chunks and refusals."""

import math
from functools import reduce

import pytest
import torch

from circuits import plain
from circuits.activations import stream
from circuits.atlas import ablations
from circuits.atlas.ablation_tally import FIGURES, FIXED_POINT, Ablations
from circuits.atlas.ablations import ablate_units, drawn_plies
from circuits.behaviour import legal_tokens
from circuits.checkpoints import Shape
from circuits.errors import InputError
from circuits.games import Games, generate
from circuits.mining import sample_of

BAND = slice(5, 54)
CLOSE = {"abs": 2e-6, "rel": 2e-4}


@pytest.fixture(scope="module")
def model(tiny):
    return plain.of(tiny)


@pytest.fixture(scope="module")
def games() -> Games:
    """Six whole games, and one that is shorter than the band."""
    tokens = generate(7, seed=21).tokens.clone()
    tokens[3, 4:] = 0
    return Games.of(tokens)


@pytest.fixture(scope="module")
def means(model):
    """Of 200 other games, by ply: [layer, neuron, ply], [layer, ply, head, d_head]."""
    layers = range(model.shape.n_layers)
    post, z = ([f"blocks.{i}.{kind}" for i in layers] for kind in ("mlp.hook_post", "attn.hook_z"))
    acts = next(stream(model, generate(200, seed=22), [*post, *z], batch_size=200)).acts
    return torch.stack([acts[name].mean(0).T for name in post]), torch.stack([acts[name].mean(0) for name in z])


@pytest.fixture(scope="module")
def found(model, games, means):
    return ablate_units(model, games, *means, BAND)


def plies_of(games, seed=0):
    valid = games.boards().valid.clone()
    valid[:, :5], valid[:, 54:] = False, False
    return drawn_plies(games, valid, seed)


def figures(base, changed, legal) -> dict[str, float]:
    """By hand, of logits over the 61 tokens; ``legal``: mask of tokens."""
    p, q = (torch.softmax(x[1:].double(), 0).tolist() for x in (base, changed))
    allowed = [i for i in range(60) if legal[i + 1]]
    return {
        "kl": sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)),
        "top": float(p.index(max(p)) != q.index(max(q))),
        "legal": sum(q[i] - p[i] for i in allowed),
    }


def slow(model, games, means, layer, kind, unit, plies):
    """A row a position: `FIGURES` of one unit, from whole passes with a hook."""
    neuron_means, z_means = means
    rows, boards = [], games.boards()
    for g, t in enumerate(plies):
        if t < 0:
            continue
        tokens, legal = games.inputs[g : g + 1], legal_tokens(boards.legal[g, t])
        hook = f"blocks.{layer}.{'mlp.hook_post' if kind == 'neuron' else 'attn.hook_z'}"
        new = neuron_means[layer, unit, t] if kind == "neuron" else z_means[layer, t, unit]

        def ablate(x, _point, t=t, new=new):
            x[0, t, unit] = new

        last = f"blocks.{model.shape.n_layers - 1}.hook_resid_post"
        base, saved = model.run(tokens, save=[hook, last])
        changed = model.run(tokens, edit=[(hook, ablate)])[0]
        total = figures(base[0, t], changed[0, t], legal)
        less = new - saved[hook][0, t, unit]
        write = less * model.W_out(layer)[unit] if kind == "neuron" else less @ model.W_O(layer)[unit]

        def shift(x, _point, t=t, write=write):
            x[0, t] += write

        direct = figures(base[0, t], model.run(tokens, edit=[(last, shift)])[0][0, t], legal)
        rows.append([total["kl"], direct["kl"], total["top"], total["legal"]])
    return torch.tensor(rows, dtype=torch.float64)


UNITS = [(0, "neuron", 0), (0, "neuron", 127), (1, "neuron", 64), (2, "neuron", 5), (0, "head", 0), (0, "head", 3)]


@pytest.mark.parametrize(("layer", "kind", "unit"), [*UNITS, (1, "head", 2), (2, "head", 1)])
def test_a_unit_against_whole_passes(model, games, means, found, layer, kind, unit):
    rows = slow(model, games, means, layer, kind, unit, plies_of(games).tolist())
    assert found.positions == len(rows) == 6
    for i, name in enumerate(FIGURES):
        assert float(found.mean(name, kind)[layer, unit]) == pytest.approx(float(rows[:, i].mean()), **CLOSE)
        se = float(rows[:, i].std() / 6**0.5)
        assert float(found.se(name, kind)[layer, unit]) == pytest.approx(se, abs=2e-6, rel=1e-3)


@pytest.mark.parametrize("ply", [0, 1, 58])
def test_first_and_last_plies(model, means, ply):
    whole = generate(60, seed=31)
    one = whole[whole.boards().valid[:, 58]][:2]
    found = ablate_units(model, one, *means, slice(ply, ply + 1))
    for kind, unit in (("neuron", 9), ("head", 2)):
        rows = slow(model, one, means, 0, kind, unit, [ply, ply])
        for i, name in enumerate(FIGURES):
            assert float(found.mean(name, kind)[0, unit]) == pytest.approx(float(rows[:, i].mean()), **CLOSE)


def test_the_oracle_sees_something(found):
    assert found.mean("kl", "head").max() > 0.05 and found.mean("kl").max() > 0.01
    assert found.mean("top", "head").max() > 0 and found.mean("legal", "head").abs().max() > 0.001
    assert not torch.allclose(found.mean("kl"), found.mean("kl_direct"), atol=1e-4)


def test_a_unit_set_to_its_own_value_does_nothing(model, games):
    one, layers = games[0], range(model.shape.n_layers)
    post, z = ([f"blocks.{i}.{kind}" for i in layers] for kind in ("mlp.hook_post", "attn.hook_z"))
    acts = next(stream(model, one, [*post, *z])).acts
    own = torch.stack([acts[name][0].T for name in post]), torch.stack([acts[name][0] for name in z])
    found = ablate_units(model, one, *own, BAND)
    for kind in ("neuron", "head"):
        assert found.mean("kl", kind).abs().max() < 1e-8 and found.mean("kl_direct", kind).abs().max() < 1e-8
        assert not found.mean("top", kind).any()
        assert found.mean("legal", kind).abs().max() < 1e-6


def test_behind_the_last_layer_direct_is_total(found):
    kl, direct = (found.neurons[FIGURES.index(name), -1] for name in ("kl", "kl_direct"))
    assert ((kl - direct).abs() <= 1e-8 * FIXED_POINT).all() and kl.any()
    # A head of the last layer still has that layer's MLP behind it.
    assert not torch.allclose(found.mean("kl", "head")[-1], found.mean("kl_direct", "head")[-1], rtol=0.01)


def test_chunks_in_any_order_give_the_same_bits(model, games, means, found):
    for chunks in ([slice(0, 7)], [slice(i, i + 1) for i in (6, 3, 0, 1, 5, 4, 2)], [slice(2, 7), slice(0, 2)]):
        parts = [ablate_units(model, games[chunk], *means, BAND) for chunk in chunks]
        merged = reduce(Ablations.merge, parts, Ablations.empty(model.shape))
        assert merged.positions == found.positions
        assert all(torch.equal(tensor, found.tensors()[name]) for name, tensor in merged.tensors().items())


def test_variants_run_in_parts(model, games, means, found, monkeypatch):
    monkeypatch.setattr(ablations, "VARIANTS", 50)
    parts = ablate_units(model, games, *means, BAND)
    for name in FIGURES:
        torch.testing.assert_close(parts.mean(name), found.mean(name), atol=1e-6, rtol=1e-3)


def test_means_of_the_band_alone(model, games, means, found):
    neurons, z = means
    same = ablate_units(model, games, neurons[:, :, BAND], z[:, BAND], BAND)
    assert torch.equal(same.neurons, found.neurons) and torch.equal(same.heads, found.heads)
    mixed = ablate_units(model, games[:2], neurons[:, :, BAND], z, BAND)
    assert torch.equal(mixed.heads, ablate_units(model, games[:2], *means, BAND).heads)


def test_what_the_tensors_hold_comes_back(found):
    back = Ablations.of_tensors(found.tensors())
    assert back.positions == found.positions
    assert all(torch.equal(tensor, back.tensors()[name]) for name, tensor in found.tensors().items())


# ---- positions ---------------------------------------------------------------------------------------------


def test_plies_are_drawn_by_number_and_seed(games):
    many = generate(2000, seed=5)
    valid = many.boards().valid.clone()
    valid[:, :5], valid[:, 54:] = False, False
    plies = drawn_plies(many, valid)
    assert valid[torch.arange(2000), plies].all()
    rows = torch.tensor([1999, 3, 700])
    assert torch.equal(drawn_plies(many[rows], valid[rows]), plies[rows])
    assert (drawn_plies(many, valid, 1) == plies).float().mean() < 0.05
    counts = torch.bincount(plies, minlength=59)[5:54].double()
    assert ((counts - 2000 / 49) ** 2 / (2000 / 49)).sum() < 95  # chi square of 48 degrees, p = 1e-4
    assert plies_of(games)[3] == -1


def test_games_sampled_by_hash_do_not_have_early_plies(games):
    many = generate(4000, seed=5)
    chosen = many[torch.isin(many.ids, sample_of(many, 400))]
    plies = plies_of(chosen).double()
    assert abs(float(plies.mean()) - 29) < 4 * 14.2 / 400**0.5


# ---- refusals ----------------------------------------------------------------------------------------------


def test_refused_means(model, games, means):
    neurons, z = means
    for wrong in ((neurons[:2], z), (neurons[:, :, :20], z), (neurons, z[:, :48]), (neurons, z[:, :, :2])):
        with pytest.raises(InputError, match="of all 59 plies or of the band's 49"):
            ablate_units(model, games, *wrong, BAND)
    holes = neurons.clone()
    ply = int(plies_of(games)[1])
    holes[1, 7, ply] = torch.nan
    with pytest.raises(InputError, match=f"game 1, ply {ply}: the means of this ply are not finite"):
        ablate_units(model, games[1], holes, z, BAND)
    assert ablate_units(model, games[3], neurons * torch.nan, z, BAND).positions == 0
    with pytest.raises(InputError, match="too large for a finite prediction"):
        ablate_units(model, games[1], neurons + 3e38, z, BAND)


def test_refused_bands(model, games, means):
    for band in (slice(20, 20), slice(5, 54, 2)):
        with pytest.raises(InputError, match="is no band of plies"):
            ablate_units(model, games, *means, band)


def test_refused_readings(model, games, means, found):
    with pytest.raises(InputError, match="figures are kl, kl_direct, top, legal"):
        found.mean("entropy")
    with pytest.raises(InputError, match="of a neuron or a head"):
        found.se("kl", "layer")
    with pytest.raises(InputError, match="nothing was ablated"):
        Ablations.empty(model.shape).mean("kl")
    assert ablate_units(model, games[0], *means, BAND).se("kl").isnan().all()


def test_refused_merges_and_tensors(model, found):
    tensors = found.tensors()
    fewer = Ablations.empty(Shape(**(vars(model.shape) | {"d_mlp": 3})))
    with pytest.raises(InputError, match="cannot merge"):
        fewer.merge(found)
    full = Ablations.empty(model.shape)
    full.neuron_squares += 2**62
    with pytest.raises(InputError, match="too large for this many games"):
        full.merge(Ablations.of_tensors(full.tensors()))
    assert (full.neuron_squares == 2**62).all()
    for spoiled in ({"neurons": found.neurons.float()}, {"heads": found.heads[:3]}, {"heads": found.heads[:, :2]}):
        with pytest.raises(InputError, match="no sums of ablations"):
            Ablations.of_tensors(tensors | spoiled)
    with pytest.raises(InputError, match="no sums of ablations"):
        Ablations.of_tensors({})
