"""Cases for testing edits: every claim against the slow engine, and the spread over plies."""

import json
from dataclasses import replace

import oracles
import oracles_edits
import pytest
import torch

from circuits.causes.game_streams import Batch
from circuits.causes.variations import MADE, Positions, variations
from circuits.editing import cases as edit_cases
from circuits.editing.board_edits import ACTIONS, EditCases, edited_boards, join
from circuits.editing.cases import load, natural, proven, published, save, unnatural
from circuits.editing.retrograde import last_moves, unreachable
from circuits.errors import InputError
from circuits.games import generate
from circuits.notation import TOKEN_SQUARE, parse_transcript
from circuits.othello import bits_to_bool, bool_to_bits, replay


def squares_of(bits) -> list[int]:
    return bits_to_bool(bits).nonzero().flatten().tolist()


def bits_of(board, side) -> torch.Tensor:
    return bool_to_bits(torch.tensor([[s == side for s in board]]))


def slow_end(cases: EditCases, row: int) -> dict:
    return oracles.replay([int(TOKEN_SQUARE[t]) for t in cases.tokens[row].tolist() if t])[-1]


def slow_edit(cases: EditCases, row: int) -> tuple[list[str], str, list[int]]:
    """The edited board, the side to move and its moves."""
    end = slow_end(cases, row)
    edits = [(s, a) for s, a in zip(cases.square[row].tolist(), cases.after[row].tolist(), strict=True) if s >= 0]
    board, legal = oracles_edits.edited(end["board"], end["side"], edits)
    return board, end["side"], legal


def same(a: EditCases, b: EditCases) -> bool:
    tensors = all(torch.equal(getattr(a, n), getattr(b, n)) for n in ("tokens", "ply", "square", "after"))
    return tensors and (a.kind, a.proof, a.source, a.dropped) == (b.kind, b.proof, b.source, b.dropped)


# Reading the last move off a board


def test_no_board_that_games_reach_is_called_unreachable():
    found = oracles_edits.reachable(4)
    assert [len(boards) for boards in found[:3]] == [4, 12, 54]
    for boards in found:
        mine = torch.cat([bits_of(board, side) for board, side in boards])
        theirs = torch.cat([bits_of(board, oracles.other(side)) for board, side in boards])
        assert not unreachable(mine, theirs).any()


def test_no_board_of_long_games_is_called_unreachable_nor_its_last_move_denied():
    boards = generate(400, seed=2).boards()
    ends = boards[boards.valid]
    assert not unreachable(ends.mine, ends.theirs).any()
    # The side that moved last is theirs, unless the other had to pass.
    own = torch.where(ends.passed, ends.mine, ends.theirs)
    other = torch.where(ends.passed, ends.theirs, ends.mine)
    assert ends.passed.any() and (last_moves(own, other) & ends.played == ends.played).all()


def test_last_moves_equal_taking_every_move_back():
    games = generate(6, seed=3)
    boards = games.boards()
    generator = torch.Generator().manual_seed(0)
    seen = {True: 0, False: 0}
    for game in range(6):
        for ply in range(0, 24, 2):
            end = boards[game, ply]
            occupied = squares_of(end.occupied)
            turned = [occupied[i] for i in torch.randint(len(occupied), (2,), generator=generator).tolist()]
            for squares in ([], turned[:1], turned):
                flip = sum(1 << s for s in set(squares))
                mine, theirs = end.mine ^ flip, end.theirs ^ flip
                board = [
                    "M" if m else "T" if t else "." for m, t in zip(*map(bits_to_bool, (mine, theirs)), strict=True)
                ]
                board = [{"M": "B", "T": "W", ".": "."}[s] for s in board]
                assert squares_of(last_moves(theirs, mine)) == oracles_edits.last_moves(board, "W")
                assert bool(unreachable(mine, theirs)) == oracles_edits.unreachable(board, "B")
                seen[bool(unreachable(mine, theirs))] += 1
    assert min(seen.values()) >= 15


def test_a_pass_leaves_the_last_move_to_the_other_side():
    # Black took A2-A1 from A0 and white, without a move, passes: black's discs alone can have been the last.
    board = ["."] * 64
    board[0] = board[1] = board[2] = "B"
    board[10] = "W"
    assert oracles.legal(board, "B") and not oracles.legal(board, "W")
    mine, theirs = bits_of(board, "B"), bits_of(board, "W")
    assert last_moves(theirs, mine) == 0 and squares_of(last_moves(mine, theirs)[0]) == [0, 2]
    assert not unreachable(mine, theirs) and not oracles_edits.unreachable(board, "B")
    # With a white disc that gives white a move, white was to move: nobody can have moved last.
    board[61], board[62] = "W", "B"
    assert oracles.legal(board, "W") and unreachable(bits_of(board, "B"), bits_of(board, "W"))


# Natural cases


@pytest.mark.parametrize(
    "squares, plies", [(1, slice(5, 54)), (2, slice(5, 54)), (3, slice(30, 40)), (1, slice(52, 59))]
)
def test_a_natural_board_is_reached_by_its_witness(squares, plies):
    cases = natural(12, seed=4, squares=squares, plies=plies)
    assert len(cases) == 12 and set(cases.kind) == {"natural"}
    for row in range(12):
        board, side, legal = slow_edit(cases, row)
        moves = parse_transcript(cases.proof[row])
        end = oracles.replay(moves)[-1]
        assert len(moves) == int(cases.ply[row]) + 1
        assert (end["board"], end["side"], oracles.legal(end["board"], side)) == (board, side, legal) and legal
        before = slow_end(cases, row)["board"]
        turned = [s for s in range(64) if before[s] != board[s]]
        assert sorted(cases.square[row].tolist()) == turned and len(turned) == squares
    assert (cases.action == ACTIONS.index("flip")).all() and proven(cases).all()


def test_natural_cases_are_spread_over_the_band_and_one_a_game(monkeypatch):
    monkeypatch.setattr(edit_cases, "MOST_TRIED", 500)
    cases = natural(300, seed=1)
    counts = torch.bincount(cases.ply, minlength=59)
    assert counts[:5].sum() == counts[54:].sum() == 0
    assert counts[5:54].max() - counts[5:54].min() == 1
    starts = {tuple(t) for t in cases.tokens[cases.ply >= 20][:, :20].tolist()}
    assert len(starts) == int((cases.ply >= 20).sum())
    # Where the band's first plies have no such boards (no exchange within two moves), the others get their share.
    early = natural(90, seed=1, plies=slice(0, 8))
    assert len(early) == 90 and early.ply.min() > 1


def test_moves_can_be_asked_to_change():
    assert (natural(30, seed=1).changed == 0).any()
    assert (natural(30, seed=1, least_changed=2).changed >= 2).all()
    assert (unnatural(30, seed=1, least_changed=2).changed >= 2).all()


def test_exchanges_that_change_few_discs_are_all_found():
    games = generate(10, seed=8)
    batch = Batch(games.tokens, games.ids, games.boards())
    row = torch.arange(10)
    made = variations(
        Positions(batch, row, torch.full_like(row, 10)), MADE[2:], same_last_move=False, differ=1, any_mover=True
    )
    found = {(int(g), int(i), int(j)) for g, i, j in zip(made.position, made.first, made.second, strict=True)}
    expected = set()
    for game in range(10):
        moves = [int(TOKEN_SQUARE[t]) for t in games.tokens[game, :11].tolist()]
        board = oracles.replay(moves)[-1]["board"]
        sides = ["B"] + [state["side"] for state in oracles.replay(moves)[:-1]]
        for j in range(11):
            for i in range(j):
                other = list(moves)
                other[i], other[j] = moves[j], moves[i]
                try:
                    end = oracles.replay(other)[-1]["board"]
                except ValueError:
                    continue
                if sides[i] == sides[j] and sum(a != b for a, b in zip(board, end, strict=True)) == 1:
                    expected.add((game, i, j))
    assert found == expected and len(found) > 1


def test_every_edited_board_of_a_position_has_the_same_chance():
    # Boards are drawn, not exchanges: a board that two exchanges lead to is not drawn more often than another.
    row, ply = torch.arange(1000), torch.full((1000,), 30)
    for tokens in generate(20, seed=8).tokens:
        batch = Batch(tokens.expand(1000, -1), row, replay(tokens.expand(1000, -1)[:, :59]))
        positions = Positions(batch, row, ply)
        made = variations(positions[:1], MADE[2:], same_last_move=False, differ=1)
        ways = torch.unique(torch.stack([made.end.mine, made.end.theirs]), dim=1, return_counts=True)[1]
        if len(ways) > 1 and ways.max() > 1:
            break
    else:
        pytest.fail("no position has a board with two ways")
    found = edit_cases._natural(positions, batch.keys(0)[row, ply], 1, 0)
    drawn = torch.bincount(found.square[:, 0])
    drawn = drawn[drawn > 0].double()
    expected = 1000 / len(ways)
    assert len(drawn) == len(ways) and ((drawn - expected).abs() < 4.5 * expected**0.5).all()


# Unnatural cases


@pytest.mark.parametrize("squares", [1, 2])
def test_an_unnatural_board_is_what_it_says(squares):
    cases = unnatural(30, seed=2, squares=squares)
    assert set(cases.kind) == {"unnatural"} and proven(cases).all()
    done = {what: (cases.action == ACTIONS.index(what)).all(1) for what in ("flip", "erase", "place")}
    assert [int(rows.sum()) for rows in done.values()] == [10, 10, 10]
    for row in range(30):
        board, side, legal = slow_edit(cases, row)
        discs = 64 - board.count(".")
        ply = int(cases.ply[row])
        assert legal and len(set(cases.square[row].tolist())) == squares
        if done["flip"][row]:
            assert discs == ply + 5
            if ply < 25:  # taking back all that can be taken back grows beyond reason
                assert oracles_edits.unreachable(board, side)
        else:
            sign = -1 if done["erase"][row] else 1
            assert discs == ply + 5 + sign * squares
            assert cases.proof[row] == f"{discs} discs: every transcript of {ply + 1} moves leaves {ply + 5}"
        assert all(board[s] != "." for s in (27, 28, 35, 36))


def test_unnatural_flips_have_the_plies_of_natural_ones():
    flips = unnatural(98, seed=3, whats=("flip",))
    assert torch.equal(torch.bincount(flips.ply), torch.bincount(natural(98, seed=3).ply))
    assert torch.bincount(flips.ply)[5:].tolist() == [2] * 49


def test_the_same_seed_gives_the_same_cases_and_another_does_not():
    for make in (natural, unnatural):
        assert same(make(12, seed=5), make(12, seed=5))
        assert not torch.equal(make(12, seed=5).tokens, make(12, seed=6).tokens)
    a, b = natural(20, seed=5), unnatural(20, seed=5)
    late = {tuple(t) for t in a.tokens[a.ply > 12][:, :12].tolist()}
    assert not late & {tuple(t) for t in b.tokens[b.ply > 12][:, :12].tolist()}


def test_boards_without_a_move_are_dropped_and_counted():
    # Late erasures of eight discs often leave nothing to flank.
    cases = unnatural(300, seed=1, squares=8, plies=slice(9, 13), whats=("erase",))
    assert sum(cases.dropped.values()) > 5 and set(cases.dropped) <= {
        "the side to move has no move on the edited board",
        "neither side can move on the edited board",
    }
    assert cases.edited.valid.all()


def test_refused_questions(monkeypatch):
    monkeypatch.setattr(edit_cases, "MOST_TRIED", 500)
    for wrong in ({"n": 0}, {"seed": -1}, {"squares": 0}, {"plies": slice(60, 70)}):
        for make in (natural, unnatural):
            with pytest.raises(InputError):
                make(**{"n": 5, **wrong})
    with pytest.raises(InputError, match="no unnatural edits"):
        unnatural(5, whats=("turn",))
    with pytest.raises(InputError, match="0 of 5 cases"):
        natural(5, plies=slice(0, 1))


# Files


def test_files_bring_back_what_was_written(tmp_path):
    cases = join([natural(20, seed=1, squares=2), unnatural(21, seed=1)])
    given = EditCases.given(generate(1, seed=1), [(27, "flip")], 9)
    cases = join([cases, given])
    save(cases, tmp_path / "cases.json")
    assert same(load(tmp_path / "cases.json"), cases)
    data = json.loads((tmp_path / "cases.json").read_text())
    for change, match in (
        ({"proof": "E5 D5"}, "case 0 is not natural"),
        ({"kind": "odd"}, 'case 0: "kind" is "odd": expected one of natural'),
        ({"history": [37, 0]}, "case 0: ply 1: A0 is not legal"),
        ({"squares": [27, 28], "after": ["empty", "mine"]}, "case 0: D3 is a centre square"),
        ({"after": ["mine"]}, 'case 0: "after" has 1 states for 2 squares'),
        (
            {"after": ["purple", "mine"]},
            'case 0: "after" is ."purple", "mine".: expected a list of empty, theirs, mine',
        ),
        ({"squares": [99, 1]}, 'case 0: "squares" is .99, 1.: expected a list of squares, each 0..63'),
        ({"history": None}, 'case 0: "history" is null'),
    ):
        changed = {**data, "cases": [{**data["cases"][0], **change}, *data["cases"][1:]]}
        (tmp_path / "changed.json").write_text(json.dumps(changed))
        with pytest.raises(InputError, match=match):
            load(tmp_path / "changed.json")
    (tmp_path / "changed.json").write_text(json.dumps({**data, "cases": []}))
    with pytest.raises(InputError, match=r"changed\.json: no cases: at least one is needed"):
        load(tmp_path / "changed.json")
    (tmp_path / "changed.json").write_text(json.dumps({**data, "cases": [{"history": [37]}]}))
    with pytest.raises(InputError, match=r"case 0 has another layout \(no 'squares'\): expected"):
        load(tmp_path / "changed.json")


def test_a_false_claim_is_not_proven():
    cases = unnatural(30, seed=1, whats=("flip",))
    natural_ones = natural(30, seed=1)
    assert not proven(replace(cases, kind=("natural",) * 30)).any()
    assert (
        proven(replace(natural_ones, kind=("unnatural",) * 30)).sum()
        == unreachable(natural_ones.edited.mine, natural_ones.edited.theirs).sum()
        == 0
    )
    assert not proven(replace(natural_ones, proof=natural_ones.proof[1:] + natural_ones.proof[:1])).any()


#: E5 D5 C2
HISTORY = [37, 29, 18]


def a_published_case() -> dict:
    end = oracles.replay(HISTORY)[-1]
    return {"history": HISTORY, "square": 28, "original_color": 2 if end["board"][28] == "B" else 0}


def test_the_published_layout(tmp_path):
    path = tmp_path / "published.json"
    first = [37]  # white to move, with one disc: D3, and flipping it ends the game
    path.write_text(json.dumps([a_published_case(), {"history": first, "square": 27, "original_color": 0}]))
    cases = published(path)
    assert len(cases) == 1 and cases.dropped == {"the side to move has no move on the edited board": 1}
    board, side, legal = slow_edit(cases, 0)
    end = oracles.replay(HISTORY)[-1]
    assert [s for s in range(64) if board[s] != end["board"][s]] == [28] and side == end["side"]
    assert squares_of(cases.edited.legal[0]) == legal
    assert same(load(path), cases)


@pytest.mark.parametrize(
    "change, match",
    [
        ({"square": 64}, 'case 1: "square" is 64: expected a square, 0..63'),
        ({"original_color": 1}, 'case 1: "original_color" is 1: expected 0 .white. or 2'),
        ({"history": "E5"}, 'case 1: "history" is "E5": expected a list'),
        ({"history": [37, 28]}, "case 1: D4 is a centre square"),
        ({"history": [37, 0]}, "case 1: ply 1: A0 is not legal"),
        ({"square": 0}, "case 1: A0 is empty after its history"),
        ({"original_color": 2 - a_published_case()["original_color"]}, "case 1: D4 is (black|white) after its history"),
    ],
)
def test_a_published_case_that_is_not_sound_is_named(tmp_path, change, match):
    path = tmp_path / "published.json"
    path.write_text(json.dumps([a_published_case(), {**a_published_case(), **change}]))
    with pytest.raises(InputError, match=match):
        published(path)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "file.json"
    for text, match in (("{}", "is a list of cases"), ("no", "no JSON"), ("[]", "no cases"), ("[3]", "case 0")):
        path.write_text(text)
        with pytest.raises(InputError, match=match):
            published(path)
    with pytest.raises(InputError, match="cannot read"):
        published(tmp_path / "nothing.json")
    path.write_text('{"format": "games"}')
    with pytest.raises(InputError, match="no file of edit cases"):
        load(path)


def test_the_published_benchmark(reference):
    cases = published(reference / "li_intervention_benchmark.json")
    assert len(cases) + sum(cases.dropped.values()) == 1001
    assert (cases.changed > 0).all() and cases.ply.max() == 29
    for row in range(0, len(cases), 97):
        board, _, legal = slow_edit(cases, row)
        assert squares_of(cases.edited.legal[row]) == legal
        before = slow_end(cases, row)["board"]
        assert [s for s in range(64) if before[s] != board[s]] == cases.square[row].tolist()
    edited = edited_boards(cases.boards, cases.square, cases.before)
    assert torch.equal(edited.legal, cases.boards.legal)
