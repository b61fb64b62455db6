"""What drives a subject: runs of pairs, senders and edits against whole passes of the model, and planted causes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from circuits import plain
from circuits.board_readers import COLOUR, BoardReader
from circuits.causes.metrics import Metric
from circuits.causes.pairs import Pairs, join
from circuits.causes.path_patching import path_effects
from circuits.causes.senders import senders_before
from circuits.editing.changes import Ground as EditGround
from circuits.editing.interventions import Editor, Method
from circuits.editing.stream_means import stream_means
from circuits.features import board_state
from circuits.games import Games, generate
from circuits.gpt import activation
from circuits.notation import N_CTX, SQUARE_TOKEN
from circuits.plain import PlainModel
from circuits.rules import Literal, black_to_move, ply, sq
from circuits.verdicts.board_edits import READ, board_edits, early, is_so, method
from circuits.verdicts.inputs import activation_change, inputs, toggled_runs
from circuits.verdicts.pair_runs import acts, end_runs
from circuits.verdicts.pairs import toggles
from circuits.verdicts.places import Places, draw
from circuits.verdicts.readings import Ground, read
from circuits.verdicts.records import Inputs
from circuits.verdicts.senders import carried, first_half, scaled, senders
from circuits.verdicts.subjects import Subject, direction, subject

RULE = sq.C2.empty & sq.D3.theirs & sq.E4.mine
POINTS = tuple(f"blocks.{layer}.hook_resid_{kind}" for layer in range(3) for kind in ("mid", "post"))


@pytest.fixture(scope="module")
def model() -> PlainModel:
    return plain.load(Path(__file__).parent / "assets" / "tiny.safetensors")


@pytest.fixture(scope="module")
def held_out() -> Games:
    return generate(300, seed=52)


@pytest.fixture(scope="module")
def editor(model) -> Editor:
    """Random readers: what an edit does is known from their directions, whatever they read."""
    drawn = torch.Generator().manual_seed(3)
    readers = {}
    for hook in POINTS:
        weight = torch.randn(model.shape.d_model, 64, 3, generator=drawn)
        readers[hook] = BoardReader(hook, weight - weight.mean(0), torch.zeros(64, 3))
    return Editor(model, readers, EditGround(stream_means(model, generate(60, seed=50), POINTS)))


@pytest.fixture(scope="module")
def ground(model, held_out, editor) -> Ground:
    return Ground(model, generate(60, seed=51), held_out, readers=editor.readers, editor=editor)


@pytest.fixture(scope="module")
def pairs(held_out) -> Pairs:
    """Toggles of a rule and their control: clean transcripts that are alike, or begin alike."""
    return join(list(toggles(RULE, held_out, 14).pairs.values()))


def drawn(ground: Ground, tested: Subject, rule, n: int = 40) -> Places:
    return draw(ground, tested, rule, read(ground.model, tested, ground.held_out[:120]), n, 10)


def whole(model: PlainModel, tokens: Tensor, at: Tensor, hooks) -> dict[str, Tensor]:
    """Activations at one ply of each transcript, of whole passes."""
    _, saved = model.run(tokens[:, :N_CTX].long(), save=list(hooks))
    return {hook: x[torch.arange(len(at)), at] for hook, x in saved.items()}


# ---- runs -----------------------------------------------------------------------------------------------------


def test_runs_of_pairs_are_those_of_whole_passes(model, pairs):
    at = pairs.game.unique(return_inverse=True)[1]
    assert len(pairs.clean.unique(dim=0)) < len(pairs) and int(torch.bincount(at).max()) > 1
    for to in (6, 5, 2, 1, 0):
        runs = end_runs(model, pairs, to)
        for side in ("clean", "corrupt"):
            kept = {k: v for k, v in acts(getattr(runs, side)).items() if not k.startswith("blocks.3")}
            reached = [hook for hook in POINTS if hook in kept]
            assert reached == list(POINTS[:to]) and "blocks.0.hook_resid_pre" in kept
            expected = whole(model, getattr(pairs, side), pairs.ply, kept)
            for hook, value in kept.items():
                torch.testing.assert_close(value, expected[hook], atol=3e-4, rtol=1e-4, msg=hook)


def test_rows_of_runs_go_with_their_pairs(model, pairs):
    rows = torch.tensor([3, 0, 11])
    some, every = end_runs(model, pairs[rows], 4), end_runs(model, pairs, 4)[rows]
    assert torch.equal(some.pairs.clean, every.pairs.clean)
    torch.testing.assert_close(some.corrupt.stream[3], every.corrupt.stream[3], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["L1N5", "L2N7, L1N3", "L1 mid", "L2H1"])
def test_changes_of_the_scalar_are_those_of_whole_passes(model, held_out, name):
    if name == "L1 mid":
        tested = direction(model, name, torch.randn(64, generator=torch.Generator().manual_seed(1)), "any")
    else:
        tested = subject(model, name)
        width = tested.width
        tested = replace(tested, weights=torch.linspace(-1, 2, width), centre=torch.zeros(width))
    found = toggles(sq.C2.empty & sq.D3.theirs, held_out, 10)
    for atom, runs in toggled_runs(tested, found).items():
        own = found.pairs[atom]
        a, b = (tested.scalar(tested.values(whole(model, t, own.ply, tested.hooks))) for t in (own.clean, own.corrupt))
        torch.testing.assert_close(activation_change(tested, runs), b - a, atol=3e-4, rtol=1e-3)


# ---- senders ----------------------------------------------------------------------------------------------------


def by_path(model: PlainModel, pairs: Pairs, node: str, names: list[str], layer: int, index: int) -> Tensor:
    """The change of a neuron's activation when a sender's output on its direct path is the corrupt run's."""
    w = model.W_out(layer)[index]
    metric = Metric(node, f"blocks.{layer}.hook_resid_post", lambda x, _: x @ w / (w @ w))
    return path_effects(model, pairs, [[name, node] for name in names], metric, direction="corrupt → clean")


def test_senders_are_path_patching(model, pairs):
    runs = end_runs(model, pairs, 6)
    names = ["embed", "L0H2", "L1H1", "L2H3", "L0N9", "L1N77"]
    rows = [list(map(str, senders_before(model, 5))).index(name) for name in names]
    found = carried(subject(model, "L2N7"), runs)
    torch.testing.assert_close(found.acts[rows], by_path(model, pairs, "L2N7", names, 2, 7), atol=2e-4, rtol=1e-3)
    pre = [
        whole(model, t, pairs.ply, ["blocks.2.mlp.hook_pre"])["blocks.2.mlp.hook_pre"]
        for t in (pairs.clean, pairs.corrupt)
    ]
    torch.testing.assert_close(found.whole, (pre[1] - pre[0])[:, 7], atol=2e-4, rtol=1e-3)
    assert float(found.read[rows].abs().mean()) > 1e-3


def test_senders_of_a_set_are_those_of_its_members(model, pairs):
    runs = end_runs(model, pairs, 6)
    both = replace(subject(model, "L2N7, L1N3"), weights=torch.tensor([2.0, -0.5]), centre=torch.zeros(2))
    names = ["embed", "L1H1", "L0N9", "L2H3", "L1N77"]
    rows = [list(map(str, senders_before(model, 5))).index(name) for name in names]
    expected = 2 * by_path(model, pairs, "L2N7", names, 2, 7)
    expected[:3] += -0.5 * by_path(model, pairs, "L1N3", names[:3], 1, 3)  # the others come after it
    torch.testing.assert_close(carried(both, runs).acts[rows], expected, atol=4e-4, rtol=1e-3)


def test_senders_of_a_direction_add_up_to_its_change(model, pairs):
    vector = torch.randn(64, generator=torch.Generator().manual_seed(1))
    tested = direction(model, "L1 post", vector, "any")
    found = carried(tested, end_runs(model, pairs, 4))
    torch.testing.assert_close(found.acts.sum(0), found.whole, atol=2e-4, rtol=1e-3)
    torch.testing.assert_close(found.acts, found.read)


def planted(model: PlainModel, name: str, weight: Tensor, bias: float) -> PlainModel:
    """The model with other input weights of one neuron."""
    unit = model.unit(name)
    at, b = (f"blocks.{unit.layer}.mlp.{x}_in" for x in "Wb")
    weights = dict(model.weights) | {at: model.weights[at].clone(), b: model.weights[b].clone()}
    weights[at][:, unit.index], weights[b][unit.index] = weight, bias
    return replace(model, weights=weights)


def test_a_planted_sender_is_found_and_verified(model, held_out):
    """L2N7 reads what L0N9 writes, upside down."""
    w = model.W_out(0)[9]
    wired = planted(model, "L2N7", -8 * w / w.norm(), 1.0)
    tested = subject(wired, "L2N7")
    found = toggles(sq.C2.empty, held_out, 80)
    runs = toggled_runs(tested, found)
    del runs[None]
    half, change = first_half(runs[sq.C2.empty]), carried(tested, runs[sq.C2.empty])
    named, reasons = senders(tested, runs, 1.0)
    assert not reasons and len(named) == 4 and 0.3 < float(half.float().mean()) < 0.7
    nodes = list(map(str, senders_before(wired, 5)))
    order = change.read[:, half].mean(1).abs().argsort(descending=True)
    assert [sender.unit for sender in named] == [nodes[i] for i in order[:4].tolist()]
    for sender in named:
        row = nodes.index(sender.unit)
        expected = float(change.acts[row][~half].mean())
        assert sender.verified.value == pytest.approx(-expected, rel=1e-4, abs=1e-7)
        node = senders_before(wired, 5)[row]
        if node.kind == "neuron":  # by what more of it does: the sign of the way from its writing to what is read
            into = float((wired.W_out(node.layer)[node.index] - wired.W_out(node.layer)[node.index].mean()) @ -w)
            assert sender.direction == ("excites" if into > 0 else "inhibits"), sender
        else:
            assert sender.direction == ("carries" if expected < 0 else "opposes")
        share = float(change.read[row][half].mean() / change.whole[half].mean())
        assert sender.found.value == pytest.approx(share, rel=1e-3)
        assert 0 < sender.p_family <= 1


def test_senders_say_why_there_are_none(model, held_out):
    runs = toggled_runs(subject(model, "L2N7"), toggles(RULE, held_out, 6))
    del runs[None]
    named, reasons = senders(subject(model, "L2N7"), runs, 1.0)
    assert not named and len(reasons) == 3 and "too few" in reasons[0]
    assert "circuits.causes.senders" in senders(subject(model, "L2H1"), runs, 1.0)[1][0]


# ---- edits ------------------------------------------------------------------------------------------------------


def test_literals_of_states(held_out):
    boards = held_out[:40].boards()
    boards = boards[boards.valid]
    state, black = board_state(boards), boards.black_to_move
    for name in READ:
        for square in (3, 27, 45):
            said = torch.stack([is_so(name, s, black) for s in range(3)])
            chosen = said[state[:, square].long(), torch.arange(len(black))]
            assert torch.equal(chosen, Literal(square, name).at(boards, black))


def test_where_edits_are_made(model):
    def told(name: str) -> tuple[Method | None, Method | None]:
        if "H" not in name and "N" not in name:
            tested = direction(model, name, torch.randn(64), "x")
        else:
            tested = subject(model, name)
        return method(tested), early(tested)

    def at(*layers: int, point: str = "post") -> Method:
        return Method("class mean", 1.0, layers, point)

    assert told("L0N3") == (at(0, point="mid"), None)
    assert told("L2N3") == (at(2, point="mid"), at(1))
    assert told("L2N3, L0N5, L2N4") == (at(0, 2, point="mid"), None)
    assert told("L2H1") == (at(1), None) and told("L0H1") == (None, None)
    assert told("L1 post") == (at(1, point="mid"), None) and told("L2 post") == (at(2, point="mid"), at(1))
    assert told("L1 mid") == (at(0), None) and told("L2 pre") == (at(1, point="mid"), None)
    assert told("L0 pre") == told("L0 mid") == (None, None)


def test_edits_move_a_neuron_by_what_the_formula_says(model, editor, ground):
    """A neuron of layer 1 that reads one square's colour: its activation from the edited stream, by hand."""
    hook, square = "blocks.1.hook_resid_mid", 18
    reader, means = editor.readers[hook], editor.ground.means
    w = 3 * reader.directions[square, COLOUR]
    wired = planted(model, "L1N4", w, 0.3)
    tested, rule = subject(wired, "L1N4"), sq.C2.mine & sq.D5.occupied
    own = Ground(wired, ground.train, ground.held_out, editor=Editor(wired, editor.readers, editor.ground))
    places = drawn(own, tested, rule)
    found = {edit.literal: edit for edit in board_edits(own.editor, tested, rule, places, 2.0)}
    edit = found["C2 mine"]
    assert edit.edit == "C2 mine -> empty, theirs" and edit.where == "L1 mid" and edit.positions == 40

    tokens, at = places.tokens[places.holds], places.ply[places.holds]
    x = whole(wired, tokens, at, [hook])[hook]
    act, u = activation(wired.shape.act), reader.directions[square]

    def neuron(stream: Tensor) -> Tensor:
        n = stream - stream.mean(-1, keepdim=True)
        return act(n / (n.pow(2).mean(-1, keepdim=True) + wired.shape.eps).sqrt() @ w + 0.3)

    changes = []
    for after in (0, 1):
        goal = (means.ply_mean[hook][at] + means.state[hook][square, after]) @ u.T
        missing = goal - x @ u.T
        both = torch.linalg.solve(u @ u.T, missing.T).T @ u
        colour = missing[:, :1] * u[COLOUR]  # theirs for mine: emptiness is left alone
        changes.append(neuron(x + (colour if after == 1 else both)) - neuron(x))
    change = torch.stack(changes).mean(0)
    assert edit.change.value == pytest.approx(float(change.mean()), rel=1e-3)
    assert edit.share.value == pytest.approx(-float(change.mean()) / 2, rel=1e-3)
    assert abs(edit.random.value) < abs(edit.share.value) / 3 > abs(edit.elsewhere.value)
    assert abs(found["D5 occupied"].share.value) < abs(edit.share.value) / 3


def test_edits_change_what_the_rule_turns_on(ground):
    tested = subject(ground.model, "L2N7")
    rule = (sq.C2.empty | sq.F5.mine) & sq.D3.occupied & ~sq.B2.white & (sq.C2.legal | ~sq.C2.played)
    places = drawn(ground, tested, rule)
    found = {(edit.literal, edit.where): edit for edit in board_edits(ground.editor, tested, rule, places, 1.0)}
    assert "does not read" in found["C2 legal", ""].reason and "does not read" in found["C2 played", ""].reason
    assert "no other state of D3" in found["D3 occupied", ""].reason  # a centre square
    for where in ("L2 mid", "L1"):
        assert found["B2 white", where].edit.endswith(("-> theirs, mine", "-> mine, theirs", "-> theirs", "-> mine"))
        assert 0 < found["C2 empty", where].positions < int(places.holds.sum())
        assert found["F5 mine", where].random is not None
    # Where F5 is mine as well, the rule does not turn on C2.
    state = board_state(places.boards)[places.holds]
    turns = (state[:, 18] == 0) & (state[:, 45] != 2)
    assert found["C2 empty", "L2 mid"].positions == int(turns.sum())


def test_edits_say_why_there_are_none(model, ground):
    tested = subject(model, "L2N7")
    rule = sq.C2.via("S", 1) & (sq.D3.mine @ -1) & (ply >= 8)
    places = drawn(ground, tested, rule, 5)
    reasons = [edit.reason for edit in board_edits(ground.editor, tested, rule, places, 1.0)]
    assert len(reasons) == 3 and sorted(reason.split()[0] for reason in reasons) == ["a", "the", "the"]
    places = drawn(ground, tested, sq.C2.empty, 5)
    (none,) = board_edits(None, tested, sq.C2.empty, places, 1.0)
    assert "no editor" in none.reason and none.share is None and none.positions == 0
    (bare,) = board_edits(Editor(model, {}), tested, sq.C2.empty, places, 1.0)
    assert "no reader of the board at blocks.2.hook_resid_mid" in bare.reason


# ---- all of it --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exact(model) -> Subject:
    """A direction at the very first point that is 1 less 0 on whether C2 was just played: an exact rule."""
    wanted = torch.zeros(61)
    wanted[SQUARE_TOKEN[18]] = 1.0
    vector = torch.linalg.lstsq(model.W_E[1:].double(), wanted[1:, None].double(), driver="gelsd").solution[:, 0]
    return direction(model, "L0 pre", vector.float(), "C2 played")


def test_an_exact_cause_is_found_and_nothing_else(ground, exact):
    rule = sq.C2.played & sq.C3.occupied
    length = float(whole_step(ground.model, exact))
    found = inputs(ground, exact, rule, drawn(ground, exact, rule, 20), length, 40)
    played, occupied = found.toggles
    assert (played.literal, occupied.literal) == ("C2 played", "C3 occupied")
    assert played.share.value == pytest.approx(1.0, abs=1e-3) and played.p_family < 0.05
    assert played.becomes == "!C2 played" and played.pairs > 10 < played.games and played.squares > 0
    assert abs(occupied.share.value) < 1e-3 and abs(found.control.share.value) < 1e-3
    assert found.control.literal == "no literal" and found.control.pairs > 10
    assert all("embedding" in edit.reason for edit in found.edits)
    (sender,) = found.senders
    assert (sender.unit, sender.literal, sender.direction) == ("embed", "C2 played", "carries")
    assert sender.found.value == pytest.approx(1.0) and sender.verified.value == pytest.approx(1.0, abs=1e-3)
    assert any("C3 occupied" in line for line in found.words)  # whose toggles change nothing that is read
    assert Inputs.from_json(found.to_json()) == found


def whole_step(model: PlainModel, exact: Subject) -> Tensor:
    """By how much the direction's coordinate tells the one move from the others."""
    on = model.W_E @ exact.vector
    return on[SQUARE_TOKEN[18]] - on[1:].median()


def test_what_cannot_be_measured_is_none_with_a_reason(ground, model):
    tested = subject(model, "L1N5")
    never = sq.D3.empty & sq.C2.mine
    found = inputs(ground, tested, never, drawn(ground, tested, never), 1.0)
    assert found.control is None and not found.senders and all("none" in t.reason for t in found.toggles)
    assert all(t.pairs == 0 and t.share is None for t in found.toggles) and all(e.reason for e in found.edits)
    rule = sq.C2.empty & black_to_move
    one = replace_games(ground, ground.held_out[:1])
    found = inputs(one, tested, rule, drawn(ground, tested, rule, 4), 0.0)
    first = next(t for t in found.toggles if t.literal == "C2 empty")
    assert first.games <= 1 and first.share is None  # there is no way from one mean to the other
    if first.pairs:
        assert first.change.low is None


def replace_games(ground: Ground, games: Games) -> Ground:
    return Ground(ground.model, ground.train, games, readers=ground.readers, editor=ground.editor)


def test_scaled():
    assert scaled(2.0, 1.0, 4.0, -2.0).low == -2.0 and scaled(2.0, 1.0, 4.0, -2.0).high == -0.5
    assert scaled(2.0, float("nan"), float("nan"), 1.0).low is None
    assert scaled(2.0, 1.0, 3.0, 0.0) is None
