"""What makes a move legal, square by square: its lines, and the squares that it rests on.

A line of a move in one direction is a row of their discs beside its square. It *holds* where one of mine is behind it:
then the move turns the row (one of the 960 patterns). A move is legal where its square is empty and a line holds.
"""

from circuits.bitboards import STEPS
from circuits.features import DIRECTIONS, reach
from circuits.notation import LABELS

#: states of a square, in the order of the probes' classes
STATES = ("empty", "theirs", "mine")


def lines(board: tuple[int, ...], square: int) -> tuple[tuple[str, tuple[int, ...], int | None, bool], ...]:
    """The lines of a square: direction, squares flanked (nearest first), the square behind them, whether it holds.

    Args:
        board: 64 states, 0 empty, 1 theirs, 2 mine.
        square: any index.
    """
    found = []
    for direction in DIRECTIONS:
        ray = [square + STEPS[direction] * i for i in range(1, reach(square, direction) + 1)]
        row = []
        for s in ray:
            if board[s] != 1:
                break
            row.append(s)
        if row:
            end = ray[len(row)] if len(row) < len(ray) else None
            found.append((direction, tuple(row), end, end is not None and board[end] == 2))
    return tuple(found)


def rests(board: tuple[int, ...], square: int) -> tuple[tuple[int, str], ...]:
    """The squares that a move rests on, and as what: ``"move"``, ``"flanked"``, ``"end"``.

    Of a legal move its own square and the lines that hold; of another move to an empty square those that do not; of one
    onto a disc that square alone.
    """
    found = {square: "move"}
    if board[square] == 0:
        own = lines(board, square)
        legal = any(holds for *_, holds in own)
        for _, row, end, holds in own:
            if holds == legal:
                found |= dict.fromkeys(row, "flanked") | ({} if end is None else {end: "end"})
    return tuple(found.items())


def reason(board: tuple[int, ...], square: int) -> str:
    """Why a move is illegal, in words; "" where it is legal."""
    name = LABELS[square]
    if board[square]:
        return f"{name} holds a disc ({STATES[board[square]]})"
    own = lines(board, square)
    if any(holds for *_, holds in own):
        return ""
    if not own:
        return f"no disc of theirs is beside {name}"
    ends = ["the edge" if end is None else f"an empty square ({LABELS[end]})" for _, _, end, _ in own]
    return f"no row of theirs beside {name} ends at one of mine: behind {'it' if len(own) == 1 else 'them'} " + (
        f"{'is' if len(own) == 1 else 'are'} {', '.join(ends)}"
    )
