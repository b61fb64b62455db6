"""Heads: equal to slow loops over positions, contributions that sum to the stream, planted kinds recognised."""

from pathlib import Path

import oracles
import oracles_heads as oracle
import pytest
import torch

from circuits import plain
from circuits.activations import points
from circuits.checkpoints import Checkpoint
from circuits.directions import binary_directions, board_directions, join
from circuits.errors import InputError
from circuits.game_intervals import gap_interval, gap_share_interval, ratio_interval
from circuits.games import Games, generate
from circuits.head_sources import CATEGORIES, FACTS, source_masks, uniform_attention
from circuits.heads import MOST, SIDE, kind_of, profile_heads
from circuits.models import read_checkpoint
from circuits.notation import LABELS, PLAYABLE

BAND = slice(30, 54)


@pytest.fixture(scope="module")
def model(tiny):
    return plain.of(tiny)


@pytest.fixture(scope="module")
def some():
    """(training games, held-out games); one of the latter ends at ply 40, and two have a pass in the band."""
    pool = generate(400, seed=31)
    passes = pool.boards().passed[:, BAND].any(1)
    tokens = torch.cat([pool[passes][:2].tokens, pool[~passes][:2].tokens]).clone()
    tokens[3, 41:] = 0
    return generate(8, seed=32), Games.of(tokens)


@pytest.fixture(scope="module")
def directions(model):
    """Random directions of every fact at every point: nothing here depends on their meaning."""
    generator = torch.Generator().manual_seed(5)
    found = {}
    for hook in points(model.shape):
        board = torch.randn(model.shape.d_model, 64, 3, generator=generator)
        parts = [board_directions(board, hook, "random")]
        parts += [
            binary_directions(board.roll(i, 1)[..., :2], fact, hook, "random") for i, fact in enumerate(FACTS[2:])
        ]
        found[hook] = join(parts)
    return found


@pytest.fixture(scope="module")
def profiles(model, some, directions):
    return profile_heads(model, *some, directions, band=BAND)


@pytest.fixture(scope="module")
def slow(model, some):
    """Training positions before the band's end, and held-out positions of the band."""
    last = BAND.stop - 1
    return oracle.positions(model, some[0], 0, last), oracle.positions(model, some[1], BAND.start, last)


# ---- sources --------------------------------------------------------------------------------------------


def test_source_masks_equal_the_slow_engine(some, slow):
    masks = source_masks(some[1], some[1].boards())
    assert any(p.state["passed"] for p in slow[1])
    for p in slow[1]:
        wanted = oracle.categories(p)
        for i, name in enumerate(CATEGORIES):
            assert set(masks[p.game, p.ply, :, i].nonzero().flatten().tolist()) == wanted[name], (name, p.ply)


def test_categories_partition_the_sources(some):
    boards = some[1].boards()
    masks = source_masks(some[1], boards)[boards.valid].float()
    share = masks * uniform_attention().expand(len(some[1]), -1, -1)[boards.valid][..., None]
    share = dict(zip(CATEGORIES, share.sum(1).T, strict=True))
    ones = torch.ones(int(boards.valid.sum()))
    torch.testing.assert_close(share["itself"] + share["mine"] + share["theirs"], ones)
    torch.testing.assert_close(share["now mine"] + share["now theirs"], ones)


# ---- attention ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("category", CATEGORIES)
def test_attention_equals_a_slow_loop(profiles, slow, category):
    paid, even = oracle.attention(slow[1], category)
    i = CATEGORIES.index(category)
    torch.testing.assert_close(profiles.attention.to[:, :, i, 0].double(), paid, atol=1e-5, rtol=1e-4)
    assert float(profiles.attention.uniform[i]) == pytest.approx(even, abs=1e-5)


def test_patterns_and_their_dependence_on_the_game_equal_slow_loops(profiles, slow):
    a, train = profiles.attention, oracle.means_by_ply(slow[0], lambda p: p.pattern)
    held = oracle.means_by_ply(slow[1], lambda p: p.pattern)
    for ply, mean in held.items():
        torch.testing.assert_close(a.pattern[:, :, ply, : ply + 1].double(), mean, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(
            profiles.means.pattern[:, :, ply, : ply + 1].double(), train[ply], atol=1e-5, rtol=1e-4
        )
    torch.testing.assert_close(a.tv[..., 0].double(), oracle.total_variation(slow[1], train), atol=1e-5, rtol=1e-4)
    padded = {p: torch.nn.functional.pad(p_, (0, 59 - p_.shape[-1])) for p, p_ in train.items()}
    grand = sum(padded[p.ply] for p in slow[0]) / len(slow[0])
    left = sum((p.pattern - train[p.ply]).square().sum(-1) for p in slow[1])
    total = sum(
        (torch.nn.functional.pad(p.pattern, (0, 58 - p.ply)).double() - grand).square().sum(-1) for p in slow[1]
    )
    torch.testing.assert_close(a.unexplained.double(), left / total, atol=1e-4, rtol=1e-3)
    entropy = sum(-torch.xlogy(p.pattern, p.pattern).sum(-1) for p in slow[1]) / len(slow[1])
    torch.testing.assert_close(a.entropy, entropy, atol=1e-4, rtol=1e-3)


def test_attention_by_offset_and_by_square_equal_slow_loops(profiles, slow):
    offsets, even = profiles.attention.by_offset()
    long = [p for p in slow[1] if p.ply >= 33]
    wanted = sum(p.pattern[..., p.ply - 33] for p in long) / len(long)
    torch.testing.assert_close(offsets[..., 33], wanted, atol=1e-5, rtol=1e-4)
    assert float(even[33]) == pytest.approx(sum(1 / (p.ply + 1) for p in long) / len(long), abs=1e-6)
    assert offsets[..., BAND.stop :].isnan().all()
    square = slow[1][0].squares[2]
    paid = sum(p.pattern[..., p.squares.index(square)] for p in slow[1] if square in p.squares)
    base = sum(1 / (p.ply + 1) for p in slow[1] if square in p.squares)
    torch.testing.assert_close(profiles.attention.source_square()[..., square], paid / base, atol=1e-4, rtol=1e-3)
    below = [(p, k) for p in slow[1] for k, s in enumerate(p.squares) if s - p.squares[-1] == 8]
    ratio = sum(p.pattern[..., k] for p, k in below) / sum(1 / (p.ply + 1) for p, _ in below)
    torch.testing.assert_close(profiles.attention.displacement()[:, :, 8, 7], ratio, atol=1e-4, rtol=1e-3)


# ---- what is written ------------------------------------------------------------------------------------


def test_separation_equals_a_slow_loop_and_heads_sum_to_the_stream(model, profiles, slow, directions):
    z, mid, pre = (oracle.means_by_ply(slow[0], lambda p, n=n: getattr(p, n)) for n in ("z", "mid", "pre"))
    w, layer = profiles.writing, 1
    W_O = model.W_O(layer).double()
    for fact, square in (("mine", 20), ("empty", 12), ("flipped", 27), ("played", 19), ("legal", 12)):
        u = directions[f"blocks.{layer}.hook_resid_mid"][f"{LABELS[square]} {fact}"].double()
        held = [oracle.holds(p, fact, square) for p in slow[1]]

        def separation(of, held=held):
            return oracle.gap([(float(of(p)), h) for p, h in zip(slow[1], held, strict=True)])

        heads = [
            separation(lambda p, h=h, u=u: (p.z[layer, h].double() - z[p.ply][layer, h]) @ W_O[h] @ u)
            for h in range(model.shape.n_heads)
        ]
        total = separation(lambda p, u=u: (p.mid[layer].double() - mid[p.ply][layer]) @ u)
        before = separation(lambda p, u=u: (p.pre[layer].double() - pre[p.ply][layer]) @ u)
        i = FACTS.index(fact)
        if total != total:
            assert w.separation[layer, :, i, square].isnan().all()
            continue
        assert w.separation[layer, :, i, square].tolist() == pytest.approx(heads, abs=1e-3)
        assert float(w.separation_total[layer, i, square]) == pytest.approx(total, abs=1e-3)
        assert sum(heads) + before == pytest.approx(total, abs=1e-4)


def test_pooled_separation_and_its_share(model, profiles, slow, directions):
    z, mid = (oracle.means_by_ply(slow[0], lambda p, n=n: getattr(p, n)) for n in ("z", "mid"))
    layer, head, W_O = 2, 3, model.W_O(2)[3].double()
    u = torch.stack([directions["blocks.2.hook_resid_mid"][f"{name} mine"] for name in LABELS]).double()
    part, whole = [], []
    for p in slow[1]:
        c = u @ ((p.z[layer, head].double() - z[p.ply][layer, head]) @ W_O)
        x = u @ (p.mid[layer].double() - mid[p.ply][layer])
        for square in range(64):
            h = oracle.holds(p, "mine", square)
            part.append((float(c[square]), h))
            whole.append((float(x[square]), h))
    pooled, total = oracle.gap(part), oracle.gap(whole)
    assert float(profiles.writing.separation_all[layer, head, 0, 0]) == pytest.approx(pooled, abs=1e-3)
    share = profiles.writing.separation_share[layer, :, :, 0]
    assert share[head, 0].isnan() or float(share[head, 0]) == pytest.approx(pooled / total, abs=1e-3)


def test_shares_of_a_gap_are_exact_and_refuse_to_be_of_nothing():
    generator = torch.Generator().manual_seed(0)
    yes, no = torch.rand(2, 3, 20, dtype=torch.float64, generator=generator)
    yes, ones = yes + 1, torch.ones(20, dtype=torch.float64)
    share = gap_share_interval((0.25 * yes, 0.25 * no), (yes, no), (ones, ones))
    torch.testing.assert_close(share, torch.full((3, 3), 0.25))
    none = gap_share_interval((yes, no), (no, no), (ones, ones))
    assert none.isnan().all()
    gaps = gap_interval(yes, ones, no, ones)
    torch.testing.assert_close(gaps[:, 0].double(), (yes - no).mean(1), atol=1e-6, rtol=1e-6)
    assert (gaps[:, 1] < gaps[:, 0]).all() and (gaps[:, 0] < gaps[:, 2]).all()
    assert ratio_interval(yes[:, :1], ones[:1])[:, 1:].isnan().all()


def test_logits_equal_a_slow_loop(model, profiles, slow):
    z = oracle.means_by_ply(slow[0], lambda p: p.z)
    W_U = model.W_U[:, 1:].double()
    reach = model.W_O(0)[1].double() @ (W_U - W_U.mean(-1, keepdim=True))
    sides = {"legal": [], "illegal": [], "occupied": []}
    pooled = []

    def side_of(p, s):
        empty = p.state["board"][s] == oracles.EMPTY
        return "legal" if s in p.state["legal"] else "illegal" if empty else "occupied"

    square = next(s for s in PLAYABLE if {side_of(p, s) for p in slow[1]} == set(sides))
    place = PLAYABLE.index(square)
    for p in slow[1]:
        c = (p.z[0, 1].double() - z[p.ply][0, 1]) @ reach / p.scale
        for i, s in enumerate(PLAYABLE):
            side = side_of(p, s)
            pooled.append((float(c[i]), {"legal": True, "illegal": False, "occupied": None}[side]))
            if i == place:
                sides[side].append(float(c[i]))
    wanted = [sum(v) / len(v) for v in sides.values()]
    assert profiles.writing.logits[0, 1, :, square].tolist() == pytest.approx(wanted, abs=1e-4)
    assert float(profiles.writing.logit_gap[0, 1, 0]) == pytest.approx(oracle.gap(pooled), abs=1e-4)
    assert profiles.writing.logits[..., 27].isnan().all()


def test_moved_values_equal_a_slow_loop(model, profiles, slow, directions):
    v = oracle.means_by_ply(slow[0], lambda p: p.v)
    square = slow[0][0].squares[0]
    own = [p.v[1, 2].double() - v[p.ply][1, 2] for p in slow[0] if p.squares[-1] == square]
    written = torch.stack(own).mean(0) @ model.W_O(1)[2].double()
    u = directions["blocks.1.hook_resid_mid"][f"{LABELS[20]} mine"].double()
    assert float(profiles.writing.ov[1, 2, 0, square, 20]) == pytest.approx(float(written @ u), abs=1e-4)


def test_weights_of_moving_equal_the_reader_of_weights(model, profiles, directions):
    from circuits.notation import Unit
    from circuits.weights import ov_cosines

    source, target = directions["blocks.0.hook_resid_post"], directions["blocks.1.hook_resid_mid"]
    square = LABELS[19]
    cosine = ov_cosines(model, Unit(1, "head", 2), source[f"{square} played"][None], target[f"{square} empty"][None])
    assert float(profiles.writing.ov_weights[1, 2, 2, 1, 19]) == pytest.approx(float(cosine), abs=1e-5)


def test_means_by_state_of_a_square(profiles, slow):
    z = oracle.means_by_ply(slow[0], lambda p: p.z)
    rows = [p.z[2, 0].double() - z[p.ply][2, 0] for p in slow[1] if p.state["board"][20] == p.state["side"]]
    assert int(profiles.writing.state_count[2, 20]) == len(rows)
    torch.testing.assert_close(
        profiles.writing.state_means[2, 0, 2, 20].double(), torch.stack(rows).mean(0), atol=1e-4, rtol=1e-3
    )


def test_facts_without_directions_are_nan_and_the_rest_unchanged(model, some, directions, profiles):
    point = "blocks.1.hook_resid_mid"
    found = profile_heads(model, *some, {point: directions[point].only("mine")}, band=BAND).writing
    torch.testing.assert_close(found.separation[1, :, 0], profiles.writing.separation[1, :, 0])
    assert found.separation[1, :, 1:].isnan().all() and found.separation[[0, 2]].isnan().all()
    assert found.separation_share[[0, 2]].isnan().all() and found.separation_all[1, :, 1:].isnan().all()


# ---- kinds ----------------------------------------------------------------------------------------------


def test_planted_kinds_are_recognised():
    """Heads that look by a code added to the positions: opposite parity, same parity, latest, earliest."""
    raw = read_checkpoint(Path(__file__).parent / "assets" / "tiny.safetensors")
    weights = {name: weight.clone().float() for name, weight in raw.weights.items()}
    width = raw.shape.d_model
    parity, ramp = torch.zeros(width), torch.zeros(width)
    parity[0], parity[1], ramp[2], ramp[3] = 1, -1, 1, -1
    plies = torch.arange(raw.shape.n_ctx)
    code = 40 * (-1.0) ** plies[:, None] * parity + 80 * (plies[:, None] / 58 - 0.5) * ramp
    weights["pos_embed.W_pos"] = weights["pos_embed.W_pos"] + code
    for name in "QK":
        weights[f"blocks.0.attn.W_{name}"].zero_()
        weights[f"blocks.0.attn.b_{name}"].zero_()
    Q, K, b = (weights[f"blocks.0.attn.{name}"] for name in ("W_Q", "W_K", "b_Q"))
    Q[0, :, 0], K[0, :, 0] = 1.0 * parity, -1.0 * parity
    Q[1, :, 0], K[1, :, 0] = 1.0 * parity, 1.0 * parity
    b[2, 0], K[2, :, 0] = 800.0, ramp
    b[3, 0], K[3, :, 0] = 800.0, -ramp
    weights["blocks.0.ln1.w"].fill_(1.0)
    planted = plain.load(Checkpoint(raw.shape, weights, raw.card, "planted"))
    found = profile_heads(planted, generate(8, 1), generate(8, 2), {}).attention
    kinds = [kind_of(found, 0, head) for head in range(4)]
    assert [kind.name for kind in kinds] == ["mine", "theirs", "last", "first"]
    assert all(kind.agreement > 0.9 and kind.sure for kind in kinds)
    assert [kind.threshold for kind in kinds] == [SIDE, SIDE, MOST, MOST]
    assert all(kind.low <= kind.share <= kind.high for kind in kinds)


def test_a_game_on_both_sides_is_refused(model, some):
    with pytest.raises(InputError, match="1 of the 4 held-out games"):
        profile_heads(model, Games.of(torch.cat([some[0].tokens, some[1].tokens[:1]])), some[1], {}, band=BAND)


def test_no_position_in_the_band_is_refused(model, some):
    short = Games.of(some[1].tokens[:, :5])
    with pytest.raises(InputError, match="no position"):
        profile_heads(model, some[0], short, {}, band=slice(40, 50))
