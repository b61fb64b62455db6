"""A move explained: contributions sum, units at their means are the whole model run so, lines are the rules'."""

import pytest
import synthetic_rules
import torch
from oracles_ablation import run_at_means

from circuits.attribution import attribute, logit_lens, logit_targets
from circuits.bitboards import bits_to_bool
from circuits.board_readers import BoardReader
from circuits.errors import InputError
from circuits.explanation import lines as rules
from circuits.explanation.contributions import contributions, layers_before
from circuits.explanation.describe import SHOWN
from circuits.explanation.explain import explain
from circuits.explanation.means import Acts, acts_at, hooks, means
from circuits.explanation.records import Explanation
from circuits.explanation.run import EQUAL
from circuits.explanation.set_to_means import NEAR, random_units, set_to_means, sizes, units_alike
from circuits.features import PATTERNS, board_state, patterns_matrix
from circuits.games import Games, generate
from circuits.last_ply import LastPly
from circuits.notation import LABELS, PLAYABLE, SQUARE_TOKEN, TOKEN_SQUARE, Unit, parse_unit
from circuits.othello import replay
from circuits.plain import of
from circuits.rules.text import parse_rule

PLY = 14
GAME = 3


@pytest.fixture(scope="module")
def readers(tiny):
    """Directions at random: what is asked here holds for any reader."""
    generator = torch.Generator().manual_seed(3)
    points = [f"blocks.{layer}.hook_resid_{point}" for layer in range(3) for point in ("mid", "post")]
    weights = [torch.randn(64, 64, 3, generator=generator) for _ in points]
    centred = [weight - weight.mean(0) for weight in weights]  # as loaded probes are
    return {p: BoardReader(p, weight, torch.zeros(64, 3)) for p, weight in zip(points, centred, strict=True)}


@pytest.fixture(scope="module")
def tokens(games):
    return games.tokens[GAME, : PLY + 1]


@pytest.fixture(scope="module")
def reference():
    return generate(30, seed=21)


@pytest.fixture(scope="module")
def found(tiny, tokens, readers, reference) -> Explanation:
    return explain(tiny, tokens, readers, reference, draws=4)


@pytest.fixture(scope="module")
def run(tiny, tokens, readers, reference):
    """The model in plain torch, its activations at the position, and the means."""
    plain = of(tiny)
    _, saved = plain.run(tokens[None].long(), save=hooks(3))
    return plain, acts_at(saved, PLY, 3), means(plain, reference, PLY, readers)


def slow_logits(plain, tokens, units, acts):
    """The whole transcript run with some units at their means at the last ply, one edit a unit."""
    logits, _ = run_at_means(plain, tokens, units, acts)
    return logits[1:] - logits[1:].mean()


# ---- lines -----------------------------------------------------------------------------------------------------


def test_lines_that_hold_are_the_patterns(games):
    boards = games.boards()
    for game, ply in ((0, 3), (5, 20), (9, 40), (11, 50)):
        own = boards[game, ply]
        state = tuple(board_state(own[None])[0].long().tolist())
        holds = {str(p) for p, h in zip(PATTERNS, patterns_matrix(own[None])[0].tolist(), strict=True) if h}
        legal = bits_to_bool(own.legal[None])[0]
        said = set()
        for square in PLAYABLE:
            if state[square] == 0:
                for direction, row, end, held in rules.lines(state, square):
                    assert [state[s] for s in row] == [1] * len(row) and held == (end is not None and state[end] == 2)
                    said |= {f"legal {LABELS[square]} via {direction} x{len(row)}"} if held else set()
            assert (rules.reason(state, square) == "") == bool(legal[square])
            resting = dict(rules.rests(state, square))
            assert resting[square] == "move" and (state[square] == 0 or len(resting) == 1)
        assert said == holds


def test_a_move_rests_on_the_lines_that_hold_or_on_those_that_do_not():
    board = [0] * 64
    for name, state in {"C1": 1, "C2": 2, "D0": 1, "B0": 1}.items():
        board[LABELS.index(name)] = state
    board = tuple(board)
    rests = {LABELS[s]: role for s, role in rules.rests(board, LABELS.index("C0"))}
    assert rests == {"C0": "move", "C1": "flanked", "C2": "end"}
    board = (*board[:18], 0, *board[19:])
    rests = {LABELS[s]: role for s, role in rules.rests(board, LABELS.index("C0"))}
    assert rests == {"C0": "move", "B0": "flanked", "A0": "end", "C1": "flanked", "C2": "end", "D0": "flanked",
                     "E0": "end"}  # fmt: skip
    assert "A0" in rules.reason(board, 16) and rules.reason(board, 17) == "C1 holds a disc (theirs)"
    assert rules.reason(board, 63) == "no disc of theirs is beside H7"


# ---- sums ------------------------------------------------------------------------------------------------------


def test_contributions_are_those_of_direct_attribution_and_sum_to_the_logit(tiny, tokens, run, found):
    plain, acts, mean = run
    at = int(SQUARE_TOKEN[LABELS.index(found.move)]) - 1
    whole = attribute(tiny, tokens[None].long(), logit_targets(tiny, [LABELS.index(found.move)]))
    _, saved = plain.run(tokens[None].long(), save=["ln_final.hook_scale"])
    W, b = plain.W_U[:, 1:].double(), plain.b_U[1:].double()
    vector = (W[:, at] - W.mean(-1)) / float(saved["ln_final.hook_scale"][0, PLY, 0])
    own = contributions(plain, acts, vector, float(b[at] - b.mean()))
    assert torch.allclose(own.heads.float(), whole.heads[:, :, 0, PLY, 0].cpu(), atol=1e-4)
    assert torch.allclose(own.neurons.float(), whole.neurons[:, :, 0, PLY, 0].cpu(), atol=1e-4)
    assert own.sum() == pytest.approx(found.logit, abs=1e-4) and found.error < 1e-5
    assert sum(p.contribution for p in found.parts) == pytest.approx(found.logit, abs=1e-4)
    assert sum(p.beyond for p in found.parts) == pytest.approx(found.logit - found.at_means, abs=1e-4)
    assert contributions(plain, mean.acts, vector, float(b[at] - b.mean())).sum() == pytest.approx(found.at_means)


def test_units_listed_are_those_of_most_and_least(found):
    for test, sign in ((found.supports, 1), (found.opposes, -1)):
        beyond = [sign * u.beyond for u in test.units]
        assert beyond == sorted(beyond, reverse=True) and beyond[-1] > 0
    board = [u.board for u in found.writers.units]
    assert board == sorted(board, reverse=True) and board[-1] > 0
    assert {parse_unit(u.unit).layer for u in found.writers.units} <= set(range(max(layers_before(found.checkpoint))))
    c = found.cover
    assert c.shown == pytest.approx(sum(u.beyond for u in found.supports.units)) and 0 < c.shown <= c.positive
    assert c.positive + c.negative + c.outside == pytest.approx(found.logit - found.at_means, abs=1e-4)
    assert 0 < c.half <= c.most < c.all == 3 * (128 + 4) and c.explained is None


def test_the_coordinates_at_the_checkpoint_are_the_streams(tiny, tokens, readers, found):
    _, saved = of(tiny).run(tokens[None].long(), save=[found.checkpoint])
    reader, expected = readers[found.checkpoint], 0.0
    for rest in found.rests:
        empty, theirs, mine = reader.weight[:, LABELS.index(rest.square)].unbind(-1)
        way = {"empty": empty - (mine + theirs) / 2, "mine": mine - theirs, "theirs": theirs - mine}[rest.state]
        expected += float(saved[found.checkpoint][0, PLY] @ (way / way.norm()))
    assert found.board == pytest.approx(expected, rel=1e-4, abs=1e-4)


# ---- means and tests -------------------------------------------------------------------------------------------


def test_means_are_over_the_games_that_reach_the_ply(tiny, readers):
    short = generate(400, seed=5)
    ply = int(short.lengths.min())  # at least one game is over by then
    games = short[torch.cat([short.lengths.argsort()[:2], torch.arange(6)]).unique()]
    taken = means(tiny, games, ply, readers)
    alive = games.boards().valid[:, ply]
    assert 0 < taken.positions == int(alive.sum()) < len(games)
    logits, saved = of(tiny).run(games.inputs[alive][:, : ply + 1], save=hooks(3))
    assert torch.allclose(taken.acts.neurons[1], saved["blocks.1.mlp.hook_post"][:, ply].mean(0), atol=1e-5)
    assert torch.allclose(taken.acts.z[2], saved["blocks.2.attn.hook_z"][:, ply].mean(0), atol=1e-5)
    assert torch.allclose(taken.probabilities, logits[:, ply].softmax(-1)[:, 1:].mean(0), atol=1e-5)


def test_units_set_to_their_means_are_the_whole_model_run_so(tokens, run, found):
    plain, _, mean = run
    at = int(SQUARE_TOKEN[LABELS.index(found.move)]) - 1
    for test in (found.supports, found.opposes, found.writers):
        units = [parse_unit(u.unit) for u in test.units]
        logits = slow_logits(plain, tokens, units, mean.acts)
        assert test.logit.total == pytest.approx(float(logits[at]) - found.logit, abs=1e-3)
        assert test.rank == 1 + int((logits > logits[at]).sum())
        alone = slow_logits(plain, tokens, units[:1], mean.acts)
        assert test.units[0].alone == pytest.approx(float(alone[at]) - found.logit, abs=1e-3)
        assert test.logit.direct == pytest.approx(-sum(u.beyond for u in test.units))
    assert found.writers.board is not None and found.supports.board is None


def test_units_set_to_what_they_do_change_nothing(tokens, run):
    plain, acts, _ = run
    last = LastPly.of(plain, tokens[None].long(), torch.tensor([PLY]))
    units = [Unit(0, "head", 1), Unit(1, "neuron", 5), Unit(2, "neuron", 9)]
    same = Acts(acts.embed.float(), acts.place.float(), acts.z.float(), acts.neurons.float())
    logits, _ = set_to_means(last, [units, []], same)
    expected = plain(tokens[None].long())[0, -1]
    assert torch.allclose(logits, expected.expand(2, -1), atol=1e-4)


def test_drawn_sets_are_of_the_same_layers_and_not_listed(run):
    plain, acts, mean = run
    units = [Unit(2, "neuron", 3), Unit(2, "neuron", 4), Unit(0, "head", 1), Unit(1, "neuron", 8)]
    size = sizes(plain, acts, mean.acts)
    for drawn in (random_units(plain, units, 6, 1), units_alike(plain, units, size, 6, 1)):
        assert len(set(drawn)) > 1
        for own in drawn:
            assert len(set(own)) == len(own) and not set(own) & set(units)
            assert [(u.layer, u.kind) for u in own] == [(u.layer, u.kind) for u in units]
    own = size["neuron"][2]
    near = (own - own[3]).abs().argsort()[: NEAR + 3].tolist()  # itself and the other listed unit may be among them
    assert {drawn[0].index for drawn in units_alike(plain, units, size, 30, 1)} <= set(near)
    # Where a layer has no other units left, there are fewer.
    heads = [Unit(1, "head", i) for i in range(4)]
    assert random_units(plain, heads, 2) == [(), ()] and len(random_units(plain, heads[:3], 1)[0]) == 1


# ---- the record ------------------------------------------------------------------------------------------------


def test_the_record_says_what_the_engine_the_probes_and_the_model_say(tiny, tokens, readers, found):
    assert Explanation.from_json(found.to_json()) == found
    logits = tiny(tokens[None].long())[0, -1].double()
    probabilities = logits.softmax(-1)
    assert found.chosen == "the model's likeliest" and found.rank == 1
    assert LABELS.index(found.move) == int(TOKEN_SQUARE[1 + int(logits[1:].argmax())])
    boards = Games.of(torch.nn.functional.pad(tokens, (0, 60 - len(tokens)))[None]).boards()[0, PLY]
    assert {LABELS.index(m) for m in found.position.legal} == set(
        bits_to_bool(boards.legal[None])[0].nonzero().flatten().tolist()
    )
    assert found.position.board == tuple(board_state(boards[None])[0].long().tolist())
    for row in found.moves:
        assert row.probability == pytest.approx(
            float(probabilities[int(SQUARE_TOKEN[LABELS.index(row.move)])]), abs=1e-5
        )
        assert row.legal == (row.move in found.position.legal) and bool(row.lines) == row.legal
        assert row.legal or row.probability > SHOWN
    assert set(found.position.legal) <= {row.move for row in found.moves}
    lens = logit_lens(tiny, tokens[None].long())[:, 0, PLY]
    at = int(SQUARE_TOKEN[LABELS.index(found.move)])
    assert [x.probability for x in found.lens] == pytest.approx(lens[:, at].exp().tolist(), abs=1e-4)
    assert found.lens[-1].logit == pytest.approx(found.logit, abs=1e-3)
    assert [x.point for x in found.readings] == list(readers)
    assert all(
        x.right == sum(a == b for a, b in zip(x.board, found.position.board, strict=True)) for x in found.readings
    )
    best = max(x.mean for x in found.readings)
    assert next(x.mean for x in found.readings if x.point == found.checkpoint) == pytest.approx(best, abs=EQUAL + 1e-6)


def test_rules_are_read_at_the_position(tiny, tokens, readers, reference, found):
    table = synthetic_rules.table(3, 128, model=tiny.hash)
    e = explain(tiny, tokens, readers, reference, table=table, draws=4)
    boards = replay(tokens[None])
    known = [u for t in (e.supports, e.opposes, e.writers) for u in t.units if u.known is not None]
    assert known and e.logit == found.logit
    for unit in known:
        row, k = table[unit.unit], unit.known
        assert (k.rule, k.status, k.variance_explained) == (
            row.rule.rule, row.status, row.rule.variance_explained.value,
        )  # fmt: skip
        assert k.holds == bool(parse_rule(k.rule).holds(boards)[0, PLY])
        levels = (k.mean_on, k.mean_off) if k.holds else (k.mean_off, k.mean_on)
        assert k.agrees == (abs(unit.activation - levels[0]) <= abs(unit.activation - levels[1]))
    c = e.cover
    assert c.explained is not None and c.explained >= 0 and c.partly >= 0 and c.explained + c.partly <= 1


def test_an_illegal_move_and_one_onto_a_disc_are_explained_as_such(tiny, tokens, readers, reference, found):
    board = found.position.board
    empty = [s for s in PLAYABLE if not board[s] and LABELS[s] not in found.position.legal]
    for square in (empty[0], next(s for s in PLAYABLE if board[s])):
        e = explain(tiny, tokens, readers, reference, square, draws=2)
        assert not e.legal and e.reason and e.chosen == "asked for" and e.move == LABELS[square]
        assert not any(line.holds for line in e.lines)
    assert len(e.rests) == 1 and "holds a disc" in e.reason


def test_what_cannot_be_explained_is_refused(tiny, tokens, readers, reference):
    whole = next(t for t in generate(20, 1).tokens if int((t != 0).sum()) == 60)
    with pytest.raises(InputError, match="the game is over"):
        explain(tiny, whole, readers, reference)
    with pytest.raises(InputError, match="0 moves"):
        explain(tiny, tokens[:0], readers, reference)
    many = generate(400, seed=5)
    over = many.tokens[int(many.lengths.argmin())]
    with pytest.raises(InputError, match="nobody can move"):
        explain(tiny, over[: int((over != 0).sum())], readers, reference)
    with pytest.raises(InputError):
        explain(tiny, tokens, readers, reference, 27)
    with pytest.raises(InputError, match="no linear probe"):
        explain(tiny, tokens, {}, reference)
    with pytest.raises(InputError, match="reference games"):
        explain(tiny, tokens, readers, Games.of(whole[None] * (torch.arange(60) < 5)))
