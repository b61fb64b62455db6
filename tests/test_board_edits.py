"""Edits of a board: what a case says of its squares, at its ply and before, against the slow engine."""

import oracles
import oracles_edits
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from circuits.editing.board_edits import ACTIONS, STATES, EditCases, edited_boards, join, parse_edit
from circuits.errors import InputError
from circuits.games import Games, generate
from circuits.notation import CENTRE, LABELS, SQUARE_TOKEN, TOKEN_SQUARE, parse_transcript
from circuits.othello import bits_to_bool


@pytest.fixture(scope="module")
def pool() -> Games:
    return generate(60, seed=41)


def history(tokens) -> list[dict]:
    return oracles.replay([int(TOKEN_SQUARE[t]) for t in tokens.tolist() if t])


def squares_of(bits) -> list[int]:
    return bits_to_bool(bits).nonzero().flatten().tolist()


def slow_state(board: list[str], side: str, square: int) -> int:
    return 0 if board[square] == oracles.EMPTY else 2 if board[square] == side else 1


def tokens_of(text: str) -> torch.Tensor:
    return SQUARE_TOKEN[torch.tensor(parse_transcript(text))]


@given(game=st.integers(0, 59), ply=st.integers(0, 56), data=st.data())
@settings(max_examples=30)
def test_an_edited_board_is_the_engines(pool, game, ply, data):
    state = history(pool.tokens[game])[ply]
    squares = data.draw(st.lists(st.integers(0, 63), min_size=1, max_size=4, unique=True))
    edits = [(s, data.draw(st.sampled_from(("mine", "theirs", "black", "white", "erase")))) for s in squares]
    edits = [(s, "mine" if what == "erase" and s in CENTRE else what) for s, what in edits]
    colour = {"black": "B", "white": "W", "mine": state["side"], "theirs": oracles.other(state["side"]), "erase": "."}
    wanted = [(s, slow_state([colour[what]] * 64, state["side"], s)) for s, what in edits]
    board, legal = oracles_edits.edited(state["board"], state["side"], wanted)
    if not legal:
        neither = not oracles.legal(board, oracles.other(state["side"]))
        with pytest.raises(InputError, match="neither side can move" if neither else "keeps the side to move"):
            EditCases.given(pool[game], edits, ply, allow_noop=True)
        return
    case = EditCases.given(pool[game], edits, ply, allow_noop=True)
    end = case.edited[0]
    mine = [s for s in range(64) if board[s] == state["side"]]
    theirs = [s for s in range(64) if board[s] == oracles.other(state["side"])]
    assert (squares_of(end.mine), squares_of(end.theirs), squares_of(end.legal)) == (mine, theirs, legal)
    assert end.black_to_move == (state["side"] == "B") == case.boards[0].black_to_move
    assert case.before[0].tolist() == [slow_state(state["board"], state["side"], s) for s, _ in edits]
    assert case.changed[0] == len(set(legal) ^ set(oracles.legal(state["board"], state["side"])))


@given(game=st.integers(0, 59), ply=st.integers(3, 50), data=st.data())
@settings(max_examples=25)
def test_what_is_done_at_every_ply(pool, game, ply, data):
    states = history(pool.tokens[game])[: ply + 1]
    squares = data.draw(st.lists(st.sampled_from([s for s in range(64) if s not in CENTRE]), min_size=3, unique=True))
    now = states[-1]
    squares = squares[:3]
    colours = [data.draw(st.sampled_from("BW")) for _ in squares]
    edits, done = [], []
    for s, colour in zip(squares, colours, strict=True):
        if now["board"][s] == oracles.EMPTY:
            edits.append((s, {"B": "black", "W": "white"}[colour]))
            done.append("place")
        else:
            done.append("flip" if colour == "B" else "erase")
            edits.append((s, done[-1]))
    try:
        case = EditCases.given(pool[game], edits, ply)
    except InputError as error:
        assert "can move" in str(error) or "side to move" in str(error)
        return
    assert [ACTIONS[a] for a in case.action[0]] == done
    before, after, applies = case.by_ply()
    assert not applies[..., ply + 1 :].any() and (before[..., ply + 1 :] == -1).all()
    for k, (s, _) in enumerate(edits):
        for t, state in enumerate(states):
            old = slow_state(state["board"], state["side"], s)
            disc = {"flip": 3 - old, "erase": 0, "place": 2 if state["side"] == colours[k] else 1}[done[k]]
            expected = (old, disc) if (old == 0) == (done[k] == "place") else (-1, -1)
            assert (int(before[0, k, t]), int(after[0, k, t])) == expected, (s, t)
            assert applies[0, k, t] == (expected != (-1, -1))
    assert torch.equal(before[..., ply], case.before) and torch.equal(after[..., ply], case.after)


def test_the_side_of_a_placed_disc_follows_the_mover_through_a_pass():
    games = generate(3000, seed=5)
    boards = games.boards()
    row, at = (boards.passed & boards.valid)[:, :50].nonzero()[0].tolist()
    assert boards.black_to_move[row, at] == boards.black_to_move[row, at - 1]  # no alternation here
    square = squares_of(boards.empty[row, at])[0]
    case = EditCases.given(games[row], [(square, "mine")], at)
    _, after, applies = case.by_ply()
    assert applies[0, 0, : at + 1].all()
    same = boards.black_to_move[row, : at + 1] == boards.black_to_move[row, at]
    assert after[0, 0, : at + 1].tolist() == [2 if s else 1 for s in same]
    assert after[0, 0, at - 1] == 2


def test_an_edit_to_what_is_there_changes_nothing(pool):
    state = history(pool.tokens[2])[20]
    edits = [(s, ("erase", "theirs", "mine")[slow_state(state["board"], state["side"], s)]) for s in (0, 19, 27, 44)]
    case = EditCases.given(pool[2], edits, 20, allow_noop=True)
    assert all(torch.equal(getattr(case.boards, n), getattr(case.edited, n)) for n in ("mine", "theirs", "legal"))
    before, after, applies = case.by_ply()
    assert torch.equal(before, after) and applies[..., :21].all() and not applies[..., 21:].any()


def test_a_flip_there_and_back_and_no_squares_leave_boards_alone(pool):
    case = EditCases.given(pool[1], [(28, "flip"), (35, "flip")], 17)
    back = edited_boards(case.edited, case.square, case.before)
    none = edited_boards(case.boards, torch.full((1, 3), -1), torch.full((1, 3), -1))
    for name in ("mine", "theirs", "legal", "valid", "played", "black_to_move"):
        assert torch.equal(getattr(back, name), getattr(case.boards, name))
        assert torch.equal(getattr(none, name), getattr(case.boards, name))
    grid = pool.boards()[:4, 10:20]
    square = torch.full((4, 10, 1), 28)
    turned = edited_boards(grid, square, torch.full((4, 10, 1), 2))
    assert (turned.mine >> 28 & 1).all() and torch.equal(turned.occupied, grid.occupied)


def test_cases_are_picked_and_joined(pool):
    one = EditCases.given(pool[3], [(28, "flip")], 20)
    two = EditCases.given(pool[4], [(28, "flip"), (27, "flip"), (36, "flip")], 30)
    both = join([one, two])
    assert both.square.tolist() == [[28, -1, -1], [28, 27, 36]] and both.after[0, 1:].tolist() == [-1, -1]
    assert both.before[0, 1:].tolist() == [-1, -1] == both.action[0, 1:].tolist()
    assert torch.equal(both.edited.legal, torch.cat([one.edited.legal, two.edited.legal]))
    _, after, applies = both.by_ply()
    assert torch.equal(after[1:], two.by_ply()[1]) and not applies[0, 1:].any()
    for index in (1, [1], slice(1, 2), torch.tensor([False, True])):
        picked = both[index]
        assert len(picked) == 1 and torch.equal(picked.edited.mine, two.edited.mine) and picked.kind == ("given",)
    with pytest.raises(InputError, match="at least one case"):
        both[:0]


def test_edits_as_text():
    assert parse_edit("flip F4") == (44, "flip") and parse_edit(" Erase c0 ") == (16, "erase")
    assert parse_edit("F4=mine") == (44, "mine") and parse_edit("F4 = Black") == (44, "black")
    assert parse_edit("flip F5", "standard") == (37, "flip")
    for wrong in ("F4", "flip", "F4=empty", "turn F4", "flip F4 F5", ""):
        with pytest.raises(InputError, match="is no edit: write 'flip F4'"):
            parse_edit(wrong)
    with pytest.raises(InputError, match="--notation standard"):
        parse_edit("flip F8")


OPENING = "E5 D5 C4"


@pytest.mark.parametrize(
    "edits, match",
    [
        ([(0, "flip")], "A0 is empty: there is no disc to flip"),
        ([(0, "erase")], "A0 is already empty"),
        ([(27, "erase")], "D3 is a centre square, which is never empty"),
        ([(28, "flip"), (28, "mine")], "D4 is edited twice"),
        ([], "no edit"),
        ([(64, "flip")], "64 is outside"),
        ([(0, "turn")], "A0: 'turn' is no edit"),
    ],
)
def test_refused_edits_say_which_square_and_why(edits, match):
    with pytest.raises(InputError, match=match):
        EditCases.given(tokens_of(OPENING), edits)


def test_refused_positions(pool):
    state = history(pool.tokens[0])[12]
    where = state["board"].index(state["side"])
    with pytest.raises(InputError, match=f"{LABELS[where]} is already mine"):
        EditCases.given(pool[0], [(where, "mine")], 12)
    with pytest.raises(InputError, match="already " + {"B": "black", "W": "white"}[state["side"]]):
        EditCases.given(pool[0], [(where, {"B": "black", "W": "white"}[state["side"]])], 12)
    with pytest.raises(InputError, match=r"ply 3: the transcript has 3 moves, so plies 0\.\.2"):
        EditCases.given(tokens_of(OPENING), [(28, "flip")], 3)
    with pytest.raises(InputError, match="the game is over there"):
        EditCases.given(pool[0], [(28, "flip")])
    with pytest.raises(InputError, match="of one game, and these are 2"):
        EditCases.given(pool[:2], [(28, "flip")], 5)
    with pytest.raises(InputError, match=r"ply 1: .* is not legal"):
        EditCases.given(tokens_of("E5 A0"), [(28, "flip")])
    with pytest.raises(InputError, match="no moves"):
        EditCases.given(torch.zeros(60, dtype=torch.uint8), [(28, "flip")])


def test_boards_without_a_move_are_refused_and_told_apart():
    # After E5 black has D4 E3 E4 E5, and white, to move, D3: without it black is alone.
    first = tokens_of("E5")
    with pytest.raises(InputError, match="neither side can move"):
        EditCases.given(first, [(27, "flip")])
    with pytest.raises(InputError, match="neither side can move"):
        EditCases.given(first, [(27, "flip"), (0, "white")])  # white in a far corner
    # Black alone in a corner cannot be flanked, and takes the white disc beside it.
    edits = [(s, "white") for s in (28, 35, 36, 37, 1)] + [(0, "black")]
    with pytest.raises(InputError, match="white, whose move it is, has none, and black would move"):
        EditCases.given(first, edits)


def test_states_are_named_in_the_probes_order():
    assert STATES == ("empty", "theirs", "mine")
