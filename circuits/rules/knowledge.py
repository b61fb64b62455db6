"""What the game forces between positions: partial knowledge of one and of some earlier ones, and all that follows.

Each position is a `circuits.rules.position.Position`. Between two of them, some plies apart:

    a disc stays: an occupied square stays occupied, an empty one was empty before
    so many squares were taken as there are plies between; the square just played was empty and legal one ply before
    a disc that is another side's one ply later has flipped, and no other
    the side to move changes at every ply unless it has passed

and of the counts: ply t has t + 5 discs, plies are 0..58, both sides have a disc, a move flips one at least, and there
is a move. Everything holds at the valid positions of every real game, so a contradiction is one in all of them. The
converse is not claimed: what passes may be unreachable.
"""

from copy import copy

from circuits import notation
from circuits.rules.atoms import Count, Line, Literal, Passed
from circuits.rules.formulas import Atom
from circuits.rules.position import ALL, COUNTED, Contradiction, Position, between, ends

PLIES = between(0, notation.N_CTX - 1)
#: discs at ply 0, after the first move
DISCS = 5


class Knowledge:
    """Of the position now (``back`` 0) and some plies before."""

    def __init__(self, backs: tuple[int, ...], plies: int):
        """``backs`` rise from 0; ``plies``: which plies it can be now, as bits, such that all of them exist."""
        self.backs, self.plies = backs, plies
        self.then = {back: Position() for back in backs}
        self.then[0].same = True

    def copy(self) -> "Knowledge":
        other = copy(self)
        other.then = {back: copy(then) for back, then in self.then.items()}
        return other

    def tell(self, atom: Atom, holds: bool) -> None:
        """Add that an atom holds, or does not."""
        then = self.then[atom.back]
        if isinstance(atom, Literal):
            then.tell(atom.name, 1 << atom.square, holds)
        elif isinstance(atom, Line):
            name = "lines1" if holds else "lines0"
            setattr(then, name, (*getattr(then, name), atom.pattern))
        elif isinstance(atom, Count):
            allowed = between(atom.low, atom.high)
            self._limit(atom.back, atom.what, allowed if holds else ~allowed)
        elif isinstance(atom, Passed):
            then.set_flag("passed", holds)
        else:
            then.set_flag("black", atom.black == holds)

    def value(self, atom: Atom) -> bool | None:
        """Whether an atom is known to hold, or known not to; None where it is not known."""
        then = self.then[atom.back]
        if isinstance(atom, Literal):
            return then.value(atom.name, 1 << atom.square)
        if isinstance(atom, Line):
            return then.line_value(atom.pattern)
        if isinstance(atom, Count):
            possible, allowed = self._possible(atom.back, atom.what), between(atom.low, atom.high)
            return False if not possible & allowed else None if possible & ~allowed else True
        if isinstance(atom, Passed):
            return then.passed
        return None if then.black is None else then.black == atom.black

    def undecided(self) -> tuple[int, str] | None:
        """A question of who moved that something known hangs on: (back, the flag's name)."""
        for back, then in self.then.items():
            colours = then.black1 | then.black0 & then.taken | then.white1 | then.white0 & then.taken
            if colours and then.black is None:
                return back, "black"
            last_move = then.flipped1 or then.played & then.played - 1 == 0
            moves = then.lines1 or then.lines0 or then.legal1 or colours
            if (last_move or moves) and then.same is None:
                return back, "same"
            if last_move and then.passed is None:
                return back, "passed"
        return None

    def settle(self) -> None:
        """Draw every conclusion.

        Raises:
            Contradiction: this is never so.
        """
        before = None
        while (state := self._state()) != before:
            before = state
            for back, then in self.then.items():
                then.settle()
                self._counts(back, then)
            for i, back in enumerate(self.backs):
                for earlier in self.backs[i + 1 :]:
                    _apart(self.then[back], self.then[earlier], earlier - back)
                self._movers(back)

    def _state(self) -> tuple:
        return self.plies, *(tuple(vars(then).values()) for then in self.then.values())

    # ---- counts --------------------------------------------------------------------------------------------

    def _possible(self, back: int, what: str) -> int:
        """What a count can be, as bits."""
        if what in COUNTED:
            return self.then[back].counts[COUNTED.index(what)]
        return _shift(self.plies, (DISCS if what == "occupied" else 0) - back)

    def _limit(self, back: int, what: str, allowed: int) -> None:
        if what in COUNTED:
            then, i = self.then[back], COUNTED.index(what)
            then.counts = (*then.counts[:i], then.counts[i] & allowed, *then.counts[i + 1 :])
        else:
            self.plies &= _shift(allowed, back - (DISCS if what == "occupied" else 0))

    def _counts(self, back: int, then: Position) -> None:
        """Counts against the squares known, and against each other."""
        self._limit(back, "occupied", between(then.taken.bit_count(), 64 - then.free.bit_count()))
        if not self.plies:
            raise Contradiction
        few, many = ends(self._possible(back, "occupied"))
        self._limit(back, "mine", between((then.taken & ~then.theirs).bit_count(), then.mine.bit_count()))
        self._limit(back, "theirs", between((then.taken & ~then.mine).bit_count(), then.theirs.bit_count()))
        # The disc placed and the one that it flanks with do not flip.
        self._limit(back, "flips", between(then.flipped1.bit_count(), min(many - 2, 64 - then.flipped0.bit_count())))
        self._limit(back, "moves", between(then.legal1.bit_count(), min(64 - few, 64 - then.legal0.bit_count())))
        if not all(then.counts):
            raise Contradiction
        (least, most), (their_least, their_most) = (ends(self._possible(back, what)) for what in ("mine", "theirs"))
        self._limit(back, "mine", between(max(few - their_most, 0), max(many - their_least, 0)))
        self._limit(back, "theirs", between(max(few - most, 0), max(many - least, 0)))
        self._limit(back, "occupied", between(least + their_least, most + their_most))

    # ---- who moves -----------------------------------------------------------------------------------------

    def _movers(self, back: int) -> None:
        now, then, earlier = self.then[0], self.then[back], self.then.get(back + 1)
        # Black moves there as it does now, or not: of the three the third follows.
        _third(now, "black", then, "black", then, "same")
        if earlier is not None:
            # Without a pass the side to move changes.
            _third(then, "same", earlier, "same", then, "passed")


def _third(a: Position, a_flag: str, b: Position, b_flag: str, c: Position, c_flag: str) -> None:
    """Of three flags with c = (a == b), any two give the third."""
    values = [getattr(a, a_flag), getattr(b, b_flag), getattr(c, c_flag)]
    if values.count(None) == 1:
        (position, flag), i = [(a, a_flag), (b, b_flag), (c, c_flag)][values.index(None)], values.index(None)
        one, other = (value for j, value in enumerate(values) if j != i)
        position.set_flag(flag, one == other)
    elif None not in values and values[2] != (values[0] == values[1]):
        raise Contradiction


def _shift(bits: int, by: int) -> int:
    return bits << by if by >= 0 else bits >> -by


def _apart(now: Position, before: Position, plies: int) -> None:
    """What two positions so many plies apart say of each other."""
    now.empty &= before.empty
    can_be_taken = now.mine | now.theirs
    before.mine &= can_be_taken
    before.theirs &= can_be_taken
    new = now.taken & before.free
    may_be_new = before.empty & can_be_taken
    if new.bit_count() > plies or may_be_new.bit_count() < plies:
        raise Contradiction
    if new.bit_count() == plies:
        may_be_new = new
    if plies == 1:
        now.played &= may_be_new & ~before.legal0
        may_be_new &= now.played
    # Elsewhere a square is taken in both, or in neither.
    before.empty &= ~(now.taken & ~may_be_new)
    now.mine &= ~(before.free & ~may_be_new)
    now.theirs &= ~(before.free & ~may_be_new)
    if now.played & now.played - 1 == 0:
        before.mine &= ~now.played
        before.theirs &= ~now.played
        if plies == 1:
            before.legal1 |= now.played
    if plies == 1:
        _flips(now, before, may_be_new)


def _flips(now: Position, before: Position, may_be_new: int) -> None:
    """Discs that change sides within one ply are those flipped."""
    before.empty &= ~now.flipped1
    before.mine &= ~(now.flipped1 & ~now.theirs)
    before.theirs &= ~(now.flipped1 & ~now.mine)
    now.mine &= ~(now.flipped1 & ~before.theirs)
    now.theirs &= ~(now.flipped1 & ~before.mine)
    before.mine &= ~(now.flipped0 & ~now.mine)
    before.theirs &= ~(now.flipped0 & ~now.theirs)
    now.mine &= ~(now.flipped0 & ~(before.mine | may_be_new))
    now.theirs &= ~(now.flipped0 & ~(before.theirs | may_be_new))
    there = now.taken & before.taken
    now.flipped1 |= there & ~(now.mine & before.mine) & ~(now.theirs & before.theirs)
    now.flipped0 |= ALL & ~(now.mine & before.theirs) & ~(now.theirs & before.mine)
