"""Roll-outs: judged as an engine in plain Python judges them, whatever the batch."""

import pytest
import torch
from oracles import BLACK, EMPTY, WHITE, flips, legal, other

import probes
from circuits import plain
from circuits.editing import rollout as rollout_module
from circuits.editing.cases import natural, unnatural
from circuits.editing.interventions import Editor, Method
from circuits.editing.rollout import rollout
from circuits.errors import InputError
from circuits.notation import TOKEN_SQUARE


@pytest.fixture(scope="module")
def editor(tiny, tiny_files):
    return Editor(plain.of(tiny), probes.load(tiny, tiny_files["probe"]).board_readers())


def as_list(board) -> list[str]:
    """A position as the slow engine has it."""
    mine, theirs = (BLACK, WHITE) if bool(board.black_to_move) else (WHITE, BLACK)
    at = {s: mine for s in range(64) if int(board.mine) >> s & 1}
    at |= {s: theirs for s in range(64) if int(board.theirs) >> s & 1}
    return [at.get(s, EMPTY) for s in range(64)]


def judged(cases, row: int, squares: list[int], original: bool) -> int:
    """How many of some moves are legal, one after the other, from a case's board on."""
    board = (cases.boards if original else cases.edited)[row]
    side, state = (BLACK if bool(board.black_to_move) else WHITE), as_list(board)
    for done, square in enumerate(squares):
        if square not in legal(state, side):
            return done
        for s in (*flips(state, side, square), square):
            state[s] = side
        side = other(side) if legal(state, other(side)) else side
    return len(squares)


@pytest.mark.parametrize("original", [False, True])
@pytest.mark.parametrize("edited", [False, True])
def test_judged_by_the_slow_engine(editor, original, edited, monkeypatch):
    cases = unnatural(18, seed=1) if edited else natural(12, seed=1)
    drawn: list[torch.Tensor] = []
    whole = rollout_module._play

    def watched(board, rows, token):
        drawn.append(torch.stack([rows, TOKEN_SQUARE[token]], 1))
        return whole(board, rows, token)

    monkeypatch.setattr(rollout_module, "_play", watched)
    method = Method("absolute", 6.0, (1,)) if edited and not original else None
    found = rollout(editor, cases, method, original=original, moves=6, seed=2)
    assert 0 < int(found.made.sum()) < 6 * len(cases)
    for row in range(len(cases)):
        squares = [int(square) for step in drawn for r, square in step.tolist() if r == row]
        made = judged(cases, row, squares, original)
        assert int(found.made[row]) == made
        # It ended at the first illegal move, or with the moves asked for, or with the game.
        assert len(squares) == min(made + 1, 6) or found.over[row]
        assert found.survived[row].tolist() == [made > i or bool(found.over[row]) for i in range(6)]


def test_any_batch(editor):
    cases = natural(15, seed=3)
    method = Method("absolute", 6.0, (1,))
    whole, parts = (rollout(editor, cases, method, moves=4, batch=b) for b in (100, 4))
    assert torch.equal(whole.made, parts.made) and torch.equal(whole.written, parts.written)
    assert (whole.written[:, 0] == 1).all()
    other_draws = rollout(editor, cases, method, moves=4, seed=9)
    assert not torch.equal(whole.made, other_draws.made)


def test_nothing_is_written_where_the_model_reads_right(editor):
    """A reader that always sees the engine's board leaves nothing to write after the first ply."""
    cases = natural(8, seed=5)
    blind = dict(editor.readers)
    hook = "blocks.1.hook_resid_post"
    reader = editor.readers[hook]
    empty = torch.zeros_like(reader.bias)
    empty[:, 0] = 1e4
    from circuits.board_readers import BoardReader

    blind[hook] = BoardReader(
        hook, reader.weight, reader.bias + empty
    )  # every square reads empty: always to be written
    found = rollout(Editor(editor.model, blind), cases, Method("absolute", 6.0, (1,)), moves=3)
    reached = torch.cat([torch.ones(8, 1, dtype=torch.bool), found.survived[:, :-1]], 1)
    assert torch.equal(found.written, reached.long())


def test_what_a_rollout_cannot_do(editor):
    cases = natural(2, seed=5)
    with pytest.raises(InputError, match="plies='last'"):
        rollout(editor, cases, Method("absolute", 1.0, (1,), plies="all"))
    bare = Editor(editor.model, {"blocks.0.hook_resid_post": editor.readers["blocks.0.hook_resid_post"]})
    with pytest.raises(InputError, match="needs a reader of the board"):
        rollout(bare, cases, Method("target vector", 1.0, (2,), reader=0))
