"""The atlas's tallies of probes and heads: against slow versions, and the promises about order, files and refusals."""

from functools import reduce
from itertools import permutations

import pytest
import torch

from circuits import plain
from circuits.activations import points, stream
from circuits.atlas.head_tally import HeadTally
from circuits.atlas.probe_tally import ProbeTally
from circuits.board_readers import BoardReader
from circuits.errors import InputError
from circuits.games import Games, generate
from circuits.head_sources import CATEGORIES
from circuits.notation import SQUARE_TOKEN, TOKEN_SQUARE, parse_transcript

BAND = slice(5, 54)
# White is wiped out by Black's fifth move, ply 8: no side can move there.
WIPE_OUT = [int(SQUARE_TOKEN[s]) for s in parse_transcript("E6 F4 E3 F6 G5 D6 E7 F5 C5", "standard")]


@pytest.fixture(scope="module")
def model(tiny):
    return plain.of(tiny)


@pytest.fixture(scope="module")
def games() -> Games:
    """A whole game, one with a forced pass in the band, a wipe-out, an unfinished one, one shorter than the band."""
    whole = generate(300, seed=3)
    passing = whole.boards().passed[:, 5:54].any(1).nonzero()[0]
    short = torch.zeros(3, 60, dtype=torch.uint8)
    short[0, : len(WIPE_OUT)] = torch.tensor(WIPE_OUT)
    short[1, :20], short[2, :4] = whole.tokens[1, :20], whole.tokens[2, :4]
    return Games.of(torch.cat([whole.tokens[:1], whole.tokens[passing], short]))


@pytest.fixture(scope="module")
def hooks(model):
    return points(model.shape)


@pytest.fixture(scope="module")
def readers(model, hooks):
    generator = torch.Generator().manual_seed(5)
    return [
        BoardReader(
            hook,
            torch.randn(model.shape.d_model, 64, 3, generator=generator) / 8,
            torch.randn(64, 3, generator=generator) / 2,
        )
        for hook in hooks
    ]


@pytest.fixture(scope="module")
def acts(model, games, hooks):
    return kept(model, games, hooks)


def kept(model, games, hooks) -> dict[str, torch.Tensor]:
    blocks = [f"blocks.{i}.attn.hook_{kind}" for i in range(model.shape.n_layers) for kind in ("pattern", "z")]
    return next(stream(model, games, [*hooks, *blocks], batch_size=len(games))).acts


def probed(hooks, readers, acts, games, band=BAND) -> ProbeTally:
    tally = ProbeTally.empty(hooks)
    tally.update([acts[hook] for hook in hooks], readers, games.boards(), band)
    return tally


def headed(model, acts, games, band=BAND) -> HeadTally:
    tally, layers = HeadTally.empty(model.shape), range(model.shape.n_layers)
    patterns, z = ([acts[f"blocks.{i}.attn.hook_{kind}"] for i in layers] for kind in ("pattern", "z"))
    tally.update(patterns, z, games, games.boards(), band)
    return tally


def positions(games, band=BAND):
    valid = games.boards().valid
    return [(g, t) for g in range(len(games)) for t in range(59)[band] if valid[g, t]]


def row(acts, i):
    return {name: x[i : i + 1] for name, x in acts.items()}


# ---- probes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("band", [BAND, slice(0, 59)])
def test_every_count_of_a_probe(hooks, readers, acts, games, band):
    tally, boards = probed(hooks, readers, acts, games, band), games.boards()
    slow = torch.zeros_like(tally.counts)
    for g, t in positions(games, band):
        mine, theirs = int(boards.mine[g, t]), int(boards.theirs[g, t])
        true = [2 if mine >> s & 1 else 1 if theirs >> s & 1 else 0 for s in range(64)]
        for p, reader in enumerate(readers):
            said = reader.read(acts[reader.hook][g, t]).tolist()
            for s in range(64):
                slow[p, s, true[s], said[s]] += 1
    assert torch.equal(tally.counts, slow)
    assert tally.positions == len(positions(games, band)) > 100


def test_a_tie_goes_to_the_earlier_class_as_it_does_in_a_reader(acts, games, hooks):
    hook = hooks[0]
    for bias, said in (([0, 0, 0], 0), ([1, 1, 1], 0), ([0, 1, 1], 1), ([0, 0, -1], 0), ([0, -1, 0.5], 2)):
        reader = BoardReader(hook, torch.zeros(64, 64, 3), torch.tensor(bias).float().expand(64, 3))
        tally = probed((hook,), [reader], acts, games)
        assert (reader.read(torch.zeros(1, 64)) == said).all()
        assert (tally.counts.sum(2)[..., said] == tally.positions).all()


def test_accuracy_and_majority(hooks, readers, acts, games):
    tally = probed(hooks, readers, acts, games)
    n = tally.positions
    for p, s in ((0, 0), (3, 27), (6, 45)):
        table = tally.counts[p, s].tolist()
        assert float(tally.accuracy()[p, s]) == pytest.approx(sum(table[i][i] for i in range(3)) / n)
        assert float(tally.majority()[s]) == pytest.approx(max(map(sum, table)) / n)
    assert (tally.counts[:, [27, 28, 35, 36], 0] == 0).all()


def test_probe_counts_do_not_depend_on_order_and_come_back(hooks, readers, acts, games):
    whole = probed(hooks, readers, acts, games)
    for order in list(permutations(range(5)))[::17]:
        parts = [probed(hooks, readers, row(acts, i), games[i]) for i in order]
        merged = reduce(ProbeTally.merge, parts)
        assert merged is parts[0] and torch.equal(merged.counts, whole.counts)
    back = ProbeTally.of_tensors(hooks, whole.tensors())
    assert back.hooks == hooks and torch.equal(back.counts, whole.counts)
    back.counts += 1
    assert not torch.equal(back.counts, whole.counts)


def test_probes_without_a_position(hooks, readers, acts, games):
    tally = probed(hooks, readers, row(acts, 4), games[4])  # a game that ends before the band
    assert tally.positions == 0 and tally.accuracy().isnan().all() and tally.majority().isnan().all()
    none = probed((), [], acts, games)
    assert none.positions == 0 and none.accuracy().shape == (0, 64) and none.majority().isnan().all()


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_stream_that_is_not_finite(hooks, readers, acts, games, value):
    tally = probed(hooks, readers, acts, games)
    before, broken = tally.counts.clone(), {hook: acts[hook].clone() for hook in hooks}
    broken[hooks[4]][3, 30] = value  # beyond its end: nobody looks there
    assert torch.equal(probed(hooks, readers, broken, games).counts, before)
    broken[hooks[4]][3, 12, 7] = value
    with pytest.raises(InputError, match=r"blocks\.1\.hook_resid_post is not finite"):
        tally.update([broken[hook] for hook in hooks], readers, games.boards(), BAND)
    assert torch.equal(tally.counts, before)


def test_large_activations_are_finite(hooks, readers, acts, games):
    # Their sum over a batch is more than float32 has room for.
    huge = {hook: acts[hook].sign() * 1e35 for hook in hooks}
    assert probed(hooks, readers, huge, games).positions == len(positions(games))


def test_probe_refusals(hooks, readers, acts, games):
    tally, boards, own = ProbeTally.empty(hooks), games.boards(), [acts[hook] for hook in hooks]
    with pytest.raises(InputError, match="in that order"):
        tally.update(own, readers[::-1], boards, BAND)
    with pytest.raises(InputError, match="stream at 6 points was given; this tally has 7"):
        tally.update(own[:-1], readers, boards, BAND)
    with pytest.raises(InputError, match="stream at more than 7 points"):
        tally.update([*own, own[0]], readers, boards, BAND)
    assert not tally.counts.any()
    with pytest.raises(InputError, match="cannot merge"):
        tally.merge(ProbeTally.empty(hooks[1:]))
    for tensors in ({}, {"counts": torch.zeros(7, 64, 3, 3)}, {"counts": torch.zeros(6, 64, 3, 3).long()}):
        with pytest.raises(InputError, match="no counts of 7 points"):
            ProbeTally.of_tensors(hooks, tensors)


# ---- heads -------------------------------------------------------------------------------------------------


def slow_categories(games, boards, g, t, k) -> dict[str, bool]:
    """To which categories the source at ply k belongs for a position, with the rules' own words."""
    square, last = int(TOKEN_SQUARE[games.inputs[g, k]]), int(TOKEN_SQUARE[games.inputs[g, t]])
    now_black = bool(boards.black_to_move[g, t])
    moved_black = True if k == 0 else bool(boards.black_to_move[g, k - 1])
    is_mine = bool(int(boards.mine[g, t]) >> square & 1)
    (a, b), (c, d) = divmod(square, 8), divmod(last, 8)
    found = dict.fromkeys(CATEGORIES, False)
    found["itself"] = k == t
    found["mine"] = k != t and moved_black == now_black
    found["theirs"] = k != t and moved_black != now_black
    found["first"] = k == 0 and t > 0
    found["now mine"], found["now theirs"] = is_mine, not is_mine
    found["turned"] = is_mine != (moved_black == now_black)
    found["flipped"] = bool(int(boards.flipped[g, t]) >> square & 1)
    found["in line"] = k != t and (a == c or b == d or abs(a - c) == abs(b - d))
    found["beside"] = max(abs(a - c), abs(b - d)) == 1
    return found


def test_every_sum_over_heads(model, acts, games):
    tally, boards, where = headed(model, acts, games), games.boards(), positions(games)
    shape = model.shape
    count = torch.zeros(59, dtype=torch.int64)
    pattern = torch.zeros(shape.n_layers, shape.n_heads, 59, 59, dtype=torch.float64)
    to = torch.zeros(shape.n_layers, shape.n_heads, len(CATEGORIES), dtype=torch.float64)
    z = torch.zeros(shape.n_layers, 59, shape.n_heads, shape.d_head, dtype=torch.float64)
    uniform = torch.zeros(len(CATEGORIES), dtype=torch.float64)
    for g, t in where:
        count[t] += 1
        p = torch.stack([acts[f"blocks.{i}.attn.hook_pattern"][g, :, t] for i in range(shape.n_layers)]).double()
        pattern[:, :, t] += p
        z[:, t] += torch.stack([acts[f"blocks.{i}.attn.hook_z"][g, t] for i in range(shape.n_layers)])
        for k in range(t + 1):
            for i, belongs in enumerate(slow_categories(games, boards, g, t, k).values()):
                to[..., i] += p[..., k] * belongs
                uniform[i] += belongs / (t + 1)
    n = count.double()
    assert torch.equal(tally.count, count) and tally.positions == len(where)
    close = {"atol": 1e-6, "rtol": 1e-5, "check_dtype": False, "equal_nan": True}
    torch.testing.assert_close(tally.mean_pattern(), pattern / n[:, None], **close)
    torch.testing.assert_close(tally.mean_z(), z / n[:, None, None], **close)
    torch.testing.assert_close(tally.attention(), to / len(where), **close)
    torch.testing.assert_close(tally.uniform_attention(), uniform / len(where), **close)
    assert tally.mean_z()[:, :5].isnan().all() and not tally.mean_z()[:, 5:54].isnan().any()


def test_heads_agree_with_their_profiles(model, games):
    from circuits.heads import profile_heads

    other = generate(12, seed=91)
    profiles = profile_heads(model, generate(12, seed=90), other, {}, band=BAND)
    tally = headed(model, kept(model, other, ()), other)
    torch.testing.assert_close(tally.attention(), profiles.attention.to[..., 0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(tally.uniform_attention(), profiles.attention.uniform, atol=1e-5, rtol=1e-4)


def test_sums_over_heads_do_not_depend_on_order_and_come_back(model, acts, games):
    def bits(tally):
        return {name: tensor.clone() for name, tensor in tally.tensors().items()}

    def parts():
        return [headed(model, row(acts, i), games[i]) for i in range(5)]

    one = bits(reduce(HeadTally.merge, parts()))
    for order in list(permutations(range(5)))[1::29]:
        own = parts()
        merged = bits(reduce(HeadTally.merge, [own[i] for i in order]))
        assert all(torch.equal(merged[name], one[name]) for name in one)
    whole = headed(model, acts, games)
    for name, tensor in whole.tensors().items():
        # Another batch rounds differently.
        torch.testing.assert_close(tensor.double(), one[name].double(), atol=64, rtol=1e-6)
    back = HeadTally.of_tensors(whole.tensors())
    assert all(torch.equal(tensor, getattr(back, name)) for name, tensor in whole.tensors().items())


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e30])
@pytest.mark.parametrize("kind", ["pattern", "z"])
def test_heads_that_are_not_finite(model, acts, games, kind, value):
    tally = headed(model, acts, games)
    before = {name: tensor.clone() for name, tensor in tally.tensors().items()}
    broken = {name: x.clone() for name, x in acts.items()}
    place = broken[f"blocks.1.attn.hook_{kind}"]
    place = place.transpose(1, 2) if kind == "pattern" else place  # [game, query ply, head, ...]
    place[3, 40], place[0, 2] = value, value  # beyond the game's end, before the band: nobody looks there
    assert torch.equal(headed(model, broken, games).z, tally.z)
    place[3, 11, 0, 3] = value
    with pytest.raises(InputError, match=r"layer 1 has attention patterns or head outputs not finite.*games 0\.\.4"):
        layers = range(model.shape.n_layers)
        patterns, z = ([broken[f"blocks.{i}.attn.hook_{kind}"] for i in layers] for kind in ("pattern", "z"))
        tally.update(patterns, z, games, games.boards(), BAND)
    assert all(torch.equal(before[name], tensor) for name, tensor in tally.tensors().items())


def test_head_refusals(model, acts, games):
    tally = HeadTally.empty(model.shape)
    patterns, z = ([acts[f"blocks.{i}.attn.hook_{kind}"] for i in range(3)] for kind in ("pattern", "z"))
    with pytest.raises(InputError, match="of 2 layers were given; the model has 3"):
        tally.update(patterns[:2], z[:2], games, games.boards(), BAND)
    with pytest.raises(InputError, match="more than 3 layers"):
        tally.update([*patterns, patterns[0]], [*z, z[0]], games, games.boards(), BAND)
    assert not tally.count.any() and not tally.z.any()
    other = {name: tensor[:2] if tensor.ndim > 2 else tensor for name, tensor in tally.tensors().items()}
    with pytest.raises(InputError, match="cannot merge"):
        tally.merge(HeadTally.of_tensors(other))
    for spoiled in ({"z": tally.z.float()}, {"pattern": tally.pattern[:2]}, {"count": tally.count[:4]}):
        with pytest.raises(InputError, match="no sums over heads"):
            HeadTally.of_tensors(tally.tensors() | spoiled)
    with pytest.raises(InputError, match="no sums over heads"):
        HeadTally.of_tensors({})


def test_boards_have_passes_and_ends(games):
    boards = games.boards()
    assert boards.passed[1, 5:54].any() and not boards.valid[2, 8] and not boards.mine[2, 8]
    assert boards.valid[3].sum() == 20
