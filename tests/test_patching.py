"""Activation patching: identities, a one-at-a-time loop, and transformer_lens.patching."""

import pytest
import torch
from oracles_patching import patched_value, value
from transformer_lens import patching as peer

from circuits import plain
from circuits.causes import metrics
from circuits.causes.changes import Subspace
from circuits.causes.counterfactuals import counterfactuals, last_move_changed
from circuits.causes.nodes import Node
from circuits.causes.pairs import Pairs
from circuits.causes.patching import patch, sweep
from circuits.causes.subspaces import patch_subspace, random_subspaces, reader, readers
from circuits.directions import Directions, unit
from circuits.errors import InputError
from circuits.games import generate

KINDS = ("embed", "pre", "mid", "post", "attn", "mlp", "head", "q", "k", "v", "pattern", "neuron")
DENOISING, NOISING = "clean → corrupt", "corrupt → clean"


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    found = counterfactuals(generate(400, seed=3), None, 24, plies=slice(9, 40))
    return found[found.legal_differs][:18]


@pytest.fixture(scope="module")
def model(tiny):
    return plain.of(tiny)


@pytest.fixture(scope="module")
def told_apart(pairs):
    return metrics.newly_legal(pairs)


def test_patching_everything_gives_the_other_run_and_nothing_gives_this_one(model, pairs, told_apart):
    for what in (["L0 pre"], ["L2 post"], ["embed"], ["L1 attn", "L1 pre", "L1 MLP"]):
        found = patch(model, pairs, told_apart, what)
        torch.testing.assert_close(found.effects[0, 0, 0], found.clean - found.corrupt, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found.effects[1, 0, 0], found.corrupt - found.clean, atol=1e-4, rtol=1e-4)
        swept = sweep(model, pairs, told_apart, what, by_ply=False) if len(what) == 1 else found
        torch.testing.assert_close(swept.effects, found.effects, atol=1e-4, rtol=1e-4)
    before = int(pairs.first.min())
    nothing = patch(model, pairs, told_apart, ["L0 pre", "L1 MLP"], plies=slice(0, before))
    assert nothing.effects.abs().max() < 1e-5
    assert (found.clean - found.corrupt).abs().min() > 0


def test_a_set_of_all_components_gives_the_clean_run(model, pairs, told_apart):
    layers = range(model.shape.n_layers)
    everything = ["embed", *(f"L{i} attn" for i in layers), *(f"L{i} MLP" for i in layers)]
    found = patch(model, pairs, told_apart, everything)
    torch.testing.assert_close(found.effects[0, 0, 0], found.clean - found.corrupt, atol=1e-4, rtol=1e-4)
    heads = [f"L{i}H{h}" for i in layers for h in range(model.shape.n_heads)]
    as_heads = patch(model, pairs, told_apart, ["embed", *heads, *(f"L{i} MLP" for i in layers)])
    torch.testing.assert_close(as_heads.effects, found.effects, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("by_ply", [True, False])
def test_sweeps_equal_a_loop_over_the_bridge(tiny, model, pairs, told_apart, by_ply):
    places = [Node(kind, 1, 2 if kind in ("head", "q", "k", "v", "pattern", "neuron") else None) for kind in KINDS[1:]]
    places = [Node("embed"), *places]
    found = sweep(model, pairs, told_apart, places, by_ply=by_ply)
    checked = 0
    for i, node in enumerate(places):
        for pair in (0, 5, 11, 17):
            first, last = int(pairs.first[pair]), int(pairs.ply[pair])
            for ply in {first, (first + last) // 2, last} if by_ply else {0}:
                plies = [ply] if by_ply else range(last + 1)
                runs = [tokens[pair, : last + 1].long() for tokens in (pairs.clean, pairs.corrupt)]
                for d, (source, base) in enumerate((runs, runs[::-1])):
                    after = patched_value(tiny, source, base, told_apart, pair, node, plies, last)
                    want = after - value(tiny, base, told_apart, pair, last)
                    assert found.effects[d, i, ply, pair] == pytest.approx(want, abs=1e-4), (str(node), pair, ply, d)
                    checked += abs(want) > 1e-3
    assert checked > 40


@pytest.mark.parametrize("point", ["blocks.1.hook_resid_mid", "blocks.1.hook_resid_post", "blocks.2.hook_resid_mid"])
def test_metrics_in_the_middle_of_the_model(tiny, model, pairs, point):
    direction = torch.randn(64, generator=torch.Generator().manual_seed(0))
    metric = metrics.coordinate(Directions(unit(direction[None]), ("x",), point, "test"), "x")
    places = ["L0 MLP", "L1H1", "L1 pre", "L1H0.k", "L1 attn"] + (
        [] if point.endswith("1.hook_resid_mid") else ["L1N3"]
    )
    for by_ply in (True, False):
        found = sweep(model, pairs, metric, places, by_ply=by_ply, direction=DENOISING)
        for i, node in enumerate(found.places):
            for pair in (2, 13):
                last = int(pairs.ply[pair])
                clean, corrupt = (tokens[pair, : last + 1].long() for tokens in (pairs.clean, pairs.corrupt))
                plies = [last] if by_ply else range(last + 1)
                want = patched_value(tiny, clean, corrupt, metric, pair, node, plies, last)
                want -= value(tiny, corrupt, metric, pair, last)
                assert found.effects[0, i, last if by_ply else 0, pair] == pytest.approx(want, abs=1e-4)


def test_equal_to_transformer_lens(tiny, model):
    pairs = counterfactuals(generate(800, seed=5), None, 40, plies=slice(30, 31), changed=slice(24, 29))[:4]
    clean, corrupt = (tokens[:, :31].long() for tokens in (pairs.clean, pairs.corrupt))
    metric = metrics.logit_difference("A0", "H7")
    tokens = metrics._tokens("A0")[0], metrics._tokens("H7")[0]

    def difference(logits):
        return logits[:, -1, tokens[0]].squeeze(1) - logits[:, -1, tokens[1]].squeeze(1)

    with torch.no_grad():
        _, cache = tiny.bridge.run_with_cache(clean)
        before = difference(tiny.bridge(corrupt))
        for kinds, by_ply, theirs in (
            (("pre", "attn", "mlp"), True, peer.get_act_patch_block_every),
            (("mid",), True, peer.get_act_patch_resid_mid),
            (("head",), False, peer.get_act_patch_attn_head_out_all_pos),
            (("q",), False, peer.get_act_patch_attn_head_q_all_pos),
            (("k",), False, peer.get_act_patch_attn_head_k_all_pos),
            (("v",), False, peer.get_act_patch_attn_head_v_all_pos),
            (("pattern",), False, peer.get_act_patch_attn_head_pattern_all_pos),
        ):
            want = theirs(tiny.bridge, corrupt, cache, difference, reduce="none").values - before
            found = sweep(model, pairs, metric, kinds, by_ply=by_ply, direction=DENOISING).effects[0]
            got = found.reshape(want.shape) if by_ply else found[:, 0].reshape(want.shape)
            torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4, msg=lambda m, k=kinds: f"{k}: {m}")
            assert want.abs().max() > 1e-3


def test_directions_batches_and_bridge_agree(tiny, model, pairs, told_apart):
    what = ("mlp", "head")
    found = sweep(model, pairs, told_apart, what, by_ply=False)
    swapped = pairs.swapped()
    other = sweep(model, swapped, metrics.newly_legal(swapped), what, by_ply=False)
    # The metric of swapped pairs is the negative one.
    torch.testing.assert_close(other.effects, -found.effects.flip(0), atol=1e-4, rtol=1e-4)
    on_bridge = sweep(tiny, pairs, told_apart, what, by_ply=False)
    torch.testing.assert_close(on_bridge.effects, found.effects, atol=1e-4, rtol=1e-4)
    many = pairs[torch.arange(90) % len(pairs)]
    repeated = sweep(model, many, metrics.newly_legal(many), what, by_ply=False)
    torch.testing.assert_close(repeated.effects[..., 36:54], found.effects, atol=1e-4, rtol=1e-4)
    by_ply = sweep(model, many, metrics.newly_legal(many), ("head",)).effects[..., -18:]
    torch.testing.assert_close(by_ply, sweep(model, pairs, told_apart, ("head",)).effects, atol=1e-4, rtol=1e-4)


def test_reading_before_the_end(model, pairs):
    wanted = pairs[(pairs.first <= 20) & (pairs.ply >= 24)]
    metric = metrics.logit("A0")
    found = sweep(model, wanted, metric, ("pre",), at=22)
    cut = Pairs.of(wanted.clean[:, :23], wanted.corrupt[:, :23])
    whole = sweep(model, cut, metric, ("pre",))
    torch.testing.assert_close(found.effects, whole.effects, atol=1e-5, rtol=1e-5)


def test_alignments(model, pairs, told_apart):
    found = sweep(model, pairs, told_apart, ("pre",), direction=DENOISING)
    end, first = found.aligned(align="end"), found.aligned(align="first difference")
    for pair in range(len(pairs)):
        last, start = int(pairs.ply[pair]), int(pairs.first[pair])
        assert torch.equal(end[:, : last + 1, pair], found.effects[0, :, : last + 1, pair].flip(1))
        span = last + 1 - start
        assert torch.equal(first[:, :span, pair], found.effects[0, :, start : last + 1, pair])
    # The stream before the first block at the last ply of the change carries all of it.
    late = last_move_changed(generate(100, seed=3), "C2 empty", 6)
    late = late[late.legal_differs]
    alone = sweep(model, late, metrics.newly_legal(late), ("L0 pre",))
    assert alone.share(DENOISING, "end")[0, 0] == pytest.approx(1, abs=1e-4)
    assert alone.share(NOISING, "end")[0, 0] == pytest.approx(1, abs=1e-4)
    row = next(iter(alone.rows("end")))
    assert row.place == "L0 pre" and row.ply == 0 and row.low <= row.mean <= row.high


def test_refusals(model, pairs, told_apart):
    early = metrics.coordinate(Directions(unit(torch.randn(1, 64)), ("x",), "blocks.0.hook_resid_mid", "t"), "x")
    late = int(pairs.ply.max())
    for call, message in (
        (lambda: sweep(model, pairs, told_apart, ["L9 MLP"]), "layers 0..2"),
        (lambda: sweep(model, pairs, told_apart, ["mlp"], layers=[7]), "layers 0..2"),
        (lambda: sweep(model, pairs, told_apart, ["L0H9"]), "heads 0..3"),
        (lambda: sweep(model, pairs, told_apart, ["nonsense"]), "names no node"),
        (lambda: sweep(model, pairs, told_apart, []), "at least one place"),
        (lambda: sweep(model, pairs, told_apart, ["L0 MLP", "L0 MLP"]), "given twice"),
        (lambda: sweep(model, pairs, told_apart, ["mlp"], direction="up"), "'up'"),
        (lambda: sweep(model, pairs, early, ["L0 MLP"]), "L0 MLP cannot reach"),
        (lambda: sweep(model, pairs, told_apart, ["mlp"], at=58), "end before"),
        (lambda: sweep(model, pairs, told_apart, ["mlp"], at=3), "are the same until"),
        (lambda: patch(model, pairs, told_apart, ["L0 MLP"], plies=late + 1), "before them"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_hooks_are_gone_after_an_exception(tiny, pairs):
    tokens = pairs.clean[:2, :12].long()
    before = tiny(tokens)

    def fails(activation, hook):
        raise RuntimeError("on purpose")

    for _ in range(2):
        with pytest.raises(RuntimeError, match="on purpose"):
            tiny.run(
                tokens, edit=[("blocks.0.mlp.hook_post", lambda a, hook: a * 0), ("blocks.1.hook_resid_pre", fails)]
            )
    torch.testing.assert_close(tiny(tokens), before, atol=0, rtol=0)
    broken = metrics.Metric("broken", "logits", fails)
    with pytest.raises(RuntimeError, match="on purpose"):
        patch(tiny, pairs, broken, ["L1 MLP"])
    torch.testing.assert_close(tiny(tokens), before, atol=0, rtol=0)


def test_a_subspace_and_its_controls(model, pairs, told_apart):
    point = "blocks.1.hook_resid_post"
    generator = torch.Generator().manual_seed(1)
    vectors = unit(torch.randn(5, 64, generator=generator))
    directions = Directions(vectors, tuple("abcde"), point, "test")
    some = Subspace.of(directions, ["a", "b"])
    assert str(some) == "a, b at L1 post" and some.basis.shape == (2, 64)
    found = patch_subspace(model, pairs, told_apart, some, draws=3)
    # By an edit written out here.
    tokens, basis = pairs.clean[:, :40].long(), torch.linalg.qr(vectors[:2].T).Q
    source = model.run(tokens, save=[point])[1][point]
    out, _ = model.run(pairs.corrupt[:, :40].long(), edit=[(point, lambda x, hook: x + (source - x) @ basis @ basis.T)])
    row = torch.arange(len(pairs))
    want = told_apart(out[row, pairs.ply], row) - sweep(model, pairs, told_apart, ("L0 pre",)).corrupt
    torch.testing.assert_close(found.effect[0], want, atol=1e-4, rtol=1e-4)
    whole = sweep(model, pairs, told_apart, ["L1 post"], by_ply=False)
    torch.testing.assert_close(found.whole, whole.effects[:, 0, 0], atol=1e-4, rtol=1e-4)
    # The whole centred space is a subspace of dimension d_model - 1, and nothing is left beside it.
    full = random_subspaces(Subspace("", point, torch.eye(64)[:63]), 1)[0]
    everything = patch_subspace(model, pairs, told_apart, full, draws=0)
    torch.testing.assert_close(everything.effect, everything.whole, atol=1e-3, rtol=1e-3)
    assert everything.rest.abs().max() < 1e-3 and full.complement.basis.shape == (0, 64)
    at_ply = patch_subspace(model, pairs, told_apart, some, plies=slice(0, 59), draws=2)
    torch.testing.assert_close(at_ply.effect, found.effect, atol=1e-4, rtol=1e-4)
    shares = found.shares()
    assert shares["whole"][0] == pytest.approx(float(found.whole[0].mean() / found.unpatched_gap.mean()), rel=1e-5)


def test_null_space_of_readers(model):
    point = "blocks.1.hook_resid_mid"
    read = model.W_in(1)[:, 7]
    along = Subspace("along", point, unit(read[None]))
    orthogonal = torch.randn(64)
    orthogonal -= orthogonal.mean()
    orthogonal -= (orthogonal @ along.basis[0]) * along.basis[0]
    across = Subspace("across", point, unit(orthogonal[None]))
    neuron = Node("neuron", 1, 7)
    assert reader(model, neuron, along).null_share == pytest.approx(0, abs=1e-5)
    assert reader(model, neuron, along).gain == pytest.approx(63, rel=1e-3)
    assert reader(model, neuron, across).null_share == pytest.approx(1, abs=1e-5)
    assert reader(model, neuron, across).gain == pytest.approx(0, abs=1e-5)
    names = [r.name for r in readers(model, along)]
    assert names == ["L1 MLP", "L2 attention (q, k, v)", "L2 MLP", "unembedding"]
    random = random_subspaces(along, 200)
    gains = torch.tensor([reader(model, Node("q", 2, 1), one).gain for one in random])
    shares = torch.tensor([reader(model, Node("q", 2, 1), one).null_share for one in random])
    assert gains.mean() == pytest.approx(1, abs=0.1)
    assert shares.mean() == pytest.approx(reader(model, Node("q", 2, 1), along).null_share_random, abs=0.03)
