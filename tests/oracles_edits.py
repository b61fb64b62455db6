"""Edited boards and last moves the slow and obvious way, on the boards of `oracles`: lists of 64 squares."""

from itertools import product

from oracles import CENTRE, DIRECTIONS, EMPTY, flips, legal, line, other, start


def edited(board: list[str], side: str, edits: list[tuple[int, int]]) -> tuple[list[str], list[int]]:
    """The board with squares in states 0 empty, 1 theirs, 2 mine of ``side``; and the moves of that side."""
    board = list(board)
    for square, state in edits:
        board[square] = (EMPTY, other(side), side)[state]
    return board, legal(board, side)


def last_moves(board: list[str], side: str) -> list[int]:
    """Where ``side`` can have moved last: every way of taking a move back is tried, and the move made again."""
    return [s for s in range(64) if board[s] == side and s not in CENTRE and _can_be_last(board, side, s)]


def _can_be_last(board: list[str], side: str, square: int) -> bool:
    runs = []
    for direction in DIRECTIONS:
        run = []
        for s in line(square, direction):
            if board[s] != side:
                break
            run.append(s)
        runs.append(run)
    # The last disc of a run is the one that the others were flanked with.
    for lengths in product(*(range(max(len(run), 1)) for run in runs)):
        turned = [s for run, n in zip(runs, lengths, strict=True) for s in run[:n]]
        before = list(board)
        before[square] = EMPTY
        for s in turned:
            before[s] = other(side)
        if turned and flips(before, side, square) == sorted(turned):
            return True
    return False


def unreachable(board: list[str], side: str) -> bool:
    """Whether nobody can have moved last on a board where ``side`` moves next."""
    by_mine = last_moves(board, side) if not legal(board, other(side)) else []
    return not last_moves(board, other(side)) and not by_mine


def reachable(depth: int) -> list[set[tuple[tuple[str, ...], str]]]:
    """All (board, side to move) after 1, 2, ... ``depth`` moves."""
    now, found = {(tuple(start()), "B")}, []
    for _ in range(depth):
        after = set()
        for board, side in now:
            for square in legal(list(board), side):
                new = list(board)
                for s in [square, *flips(new, side, square)]:
                    new[s] = side
                mover = other(side) if legal(new, other(side)) else side
                after.add((tuple(new), mover))
        found.append(after)
        now = after
    return found
