"""What is known of one position: for every square what it can still be, and what follows from that alone.

Bitboards say which squares *can* be so, or are known to be (``1``) or not to be (``0``) so. Nothing left of a square is
a `Contradiction`. What the game forces here:

    a square is empty, mine or theirs, and the four centre squares are never empty
    one square was just played, of the side that has just moved; discs flip to that side's colour, never in a corner
    a legal square is empty and flanks some line; a pattern is the states of its squares, and makes its square legal
"""

from functools import cache

from circuits import notation
from circuits.features import DIRECTIONS, PATTERNS, Pattern

ALL = (1 << 64) - 1
CENTRE = sum(1 << s for s in notation.CENTRE)
CORNERS = sum(1 << s for s in (0, 7, 56, 63))
#: what is counted by one position alone
COUNTED = ("flips", "moves", "mine", "theirs")


class Contradiction(Exception):
    """Nothing in the game is like this."""


def between(low: int, high: int) -> int:
    """Bits ``low`` to ``high``, both included."""
    return 0 if high < low else (1 << high + 1) - (1 << low)


def ends(possible: int) -> tuple[int, int]:
    """Lowest and highest bit set."""
    return (possible & -possible).bit_length() - 1, possible.bit_length() - 1


@cache
def patterns_at(square: int) -> tuple[tuple[int, int], ...]:
    """Of each pattern that makes a square legal: the flanked squares and the end, as bitboards."""
    return tuple(map(line, (pattern for pattern in PATTERNS if pattern.square == square)))


@cache
def line(pattern: Pattern) -> tuple[int, int]:
    """A pattern's flanked squares and its end, as bitboards."""
    *flanked, end = pattern.squares()
    return sum(1 << s for s in flanked), 1 << end


#: no move flips more: the longest flanked run in each direction
MOST_FLIPS = max(
    sum(max((p.flanked for p in PATTERNS if (p.square, p.direction) == (s, d)), default=0) for d in DIRECTIONS)
    for s in notation.PLAYABLE
)


class Position:
    """Knowledge of one position; mine and theirs are those of the side that moves *now*, whenever this was."""

    def __init__(self):
        self.empty, self.mine, self.theirs = ALL & ~CENTRE, ALL, ALL
        self.played = ALL & ~CENTRE
        self.flipped1, self.flipped0 = 0, CORNERS
        self.legal1, self.legal0 = 0, CENTRE
        self.black1 = self.black0 = self.white1 = self.white0 = 0
        self.lines1: tuple[Pattern, ...] = ()
        self.lines0: tuple[Pattern, ...] = ()
        #: for each of `COUNTED` what it can be, as bits
        self.counts = (between(1, MOST_FLIPS), between(1, 60), between(1, 62), between(1, 62))
        #: is the mover here the side that moves now; does black move here; did a pass come just before
        self.same: bool | None = None
        self.black: bool | None = None
        self.passed: bool | None = None

    @property
    def taken(self) -> int:
        """Squares known to be occupied."""
        return ALL & ~self.empty

    @property
    def free(self) -> int:
        """Squares known to be empty."""
        return ALL & ~(self.mine | self.theirs)

    @property
    def just_moved(self) -> bool | None:
        """Has the side that moves now made the last move here? None where that is not known."""
        return None if self.same is None or self.passed is None else self.same == self.passed

    def set_flag(self, name: str, value: bool) -> None:
        """``same``, ``black`` or ``passed``."""
        if getattr(self, name) not in (None, value):
            raise Contradiction
        setattr(self, name, value)

    def tell(self, name: str, square: int, holds: bool) -> None:
        """A literal on a square (a bit) holds, or does not."""
        if name in ("empty", "occupied"):
            if holds == (name == "empty"):
                self.mine &= ~square
                self.theirs &= ~square
            else:
                self.empty &= ~square
        elif name in ("mine", "theirs"):
            if holds:
                self.empty &= ~square
                name = "theirs" if name == "mine" else "mine"
            setattr(self, name, getattr(self, name) & ~square)
        elif name == "played":
            self.played &= square if holds else ~square
        else:
            name = f"{name}{int(holds)}"
            setattr(self, name, getattr(self, name) | square)

    def value(self, name: str, square: int) -> bool | None:
        """Whether a literal is known to hold, or known not to."""
        if name in ("empty", "occupied"):
            free = True if self.free & square else False if self.taken & square else None
            return free if name == "empty" or free is None else not free
        if name in ("mine", "theirs"):
            other = self.theirs if name == "mine" else self.mine
            return False if not getattr(self, name) & square else None if (self.empty | other) & square else True
        if name == "played":
            return False if not self.played & square else None if self.played & ~square else True
        known, known_not = getattr(self, f"{name}1"), getattr(self, f"{name}0")
        return True if known & square else False if known_not & square else None

    def line_value(self, pattern: Pattern) -> bool | None:
        """Whether a pattern is known to hold, or known not to."""
        square = 1 << pattern.square
        if self.legal0 & square or not self.empty & square or pattern in self.lines0:
            return False
        if pattern in self.lines1:
            return True
        if self.same is None:
            return None
        flanked, end = line(pattern)
        waiting, moving = (self.theirs, self.mine) if self.same else (self.mine, self.theirs)
        if flanked & ~waiting or end & ~moving:
            return False
        unsure = flanked & (self.empty | moving) | end & (self.empty | waiting) | square & ~self.free
        return None if unsure else True

    # ---- what follows --------------------------------------------------------------------------------------

    def settle(self) -> None:
        """One round of conclusions from this position alone."""
        self._colours()
        self._lines()
        self._last_move()
        self._moves()
        if ALL & ~(self.empty | self.mine | self.theirs) or not self.played:
            raise Contradiction

    def _colours(self) -> None:
        """Black and white discs; whose they are is known when it is known who moves."""
        both = self.black0 & self.white0
        self.mine &= ~both
        self.theirs &= ~both
        self.empty &= ~(self.black1 | self.white1)
        self.white0 |= self.black1 | self.free
        self.black0 |= self.white1 | self.free
        if self.black1 & self.black0 or self.white1 & self.white0:
            raise Contradiction
        if self.black is None or self.same is None:
            return
        if self.black == self.same:  # the side that moves now is black
            self.mine &= ~(self.white1 | self.black0)
            self.theirs &= ~(self.black1 | self.white0)
            self.black1 |= self.taken & ~self.theirs
            self.white1 |= self.taken & ~self.mine
            self.black0 |= ALL & ~self.mine
            self.white0 |= ALL & ~self.theirs
        else:
            self.mine &= ~(self.black1 | self.white0)
            self.theirs &= ~(self.white1 | self.black0)
            self.white1 |= self.taken & ~self.theirs
            self.black1 |= self.taken & ~self.mine
            self.white0 |= ALL & ~self.mine
            self.black0 |= ALL & ~self.theirs

    def _lines(self) -> None:
        for pattern in self.lines1:
            flanked, end = line(pattern)
            self.legal1 |= 1 << pattern.square
            self.empty &= ~(flanked | end)
            if self.same is not None:
                if self.same:
                    self.mine, self.theirs = self.mine & ~flanked, self.theirs & ~end
                else:
                    self.theirs, self.mine = self.theirs & ~flanked, self.mine & ~end

    def _last_move(self) -> None:
        self.played &= self.mine | self.theirs
        self.played &= ~self.flipped1
        self.empty &= ~self.flipped1
        if self.just_moved is not None:
            own, other = ("mine", "theirs") if self.just_moved else ("theirs", "mine")
            self.played &= getattr(self, own)
            self.flipped0 |= ALL & ~getattr(self, own)
            setattr(self, other, getattr(self, other) & ~self.flipped1)
        if self.played & self.played - 1 == 0:  # one square is left
            self.empty &= ~self.played
            self.flipped0 |= self.played
            if self.just_moved is not None:
                setattr(self, other, getattr(self, other) & ~self.played)
        self.flipped0 |= self.free
        if self.flipped1 & self.flipped0:
            raise Contradiction

    def _moves(self) -> None:
        self.mine &= ~self.legal1
        self.theirs &= ~self.legal1
        self.legal0 |= self.taken
        if self.legal1 & self.legal0:
            raise Contradiction
        if self.same is None:
            return
        waiting, moving = (self.theirs, self.mine) if self.same else (self.mine, self.theirs)
        for square in _squares(self.legal1):
            if not any(not flanked & ~waiting and not end & ~moving for flanked, end in patterns_at(square)):
                raise Contradiction
        sure_waiting, sure_moving = self.taken & ~moving, self.taken & ~waiting
        for square in _squares(self.legal0 & self.free):
            if any(not flanked & ~sure_waiting and not end & ~sure_moving for flanked, end in patterns_at(square)):
                raise Contradiction
        for pattern in self.lines0:
            flanked, end = line(pattern)
            if self.free & 1 << pattern.square and not flanked & ~sure_waiting and not end & ~sure_moving:
                raise Contradiction


def _squares(bits: int) -> list[int]:
    found = []
    while bits:
        found.append((bits & -bits).bit_length() - 1)
        bits &= bits - 1
    return found
