"""Rules over many positions as bit operations: 64 positions to a word.

Every atom is a *column*, one bit a position, packed once and kept; a formula is then ``&``, ``|`` and ``~`` on whole
words, and a rule of k literals over n positions costs k · n / 64 word operations. Columns are walked in pieces that
stay in a core's cache, in place, without a temporary for a plain conjunction::

    and:  word = a & b & ...        of literals, whose negations are columns too
    or:   word = a | b | ...
    not:  word = ~word              then the bits past the last position are cleared once

`circuits.rules.Rule.holds` is the plain way, and gives the same booleans.
"""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from circuits.errors import InputError
from circuits.features import DIRECTIONS, literal_bits, pattern_bits
from circuits.othello import Boards
from circuits.rules import RELATIVE, And, Atom, Constant, Count, Line, Literal, Not, Rule

#: words at a time: three buffers of 128 KiB lie in a core's second-level cache, and torch keeps to one thread
CHUNK = 1 << 14
#: positions at a time while columns of patterns are made (48 bitboards each)
_AT_ONCE = 1 << 15


class Packed:
    """Positions whose facts are looked up as packed bits.

    Attributes:
        where: which positions, [game, ply]; rows below are row-major: by game, then by ply.
        n: how many.
        row: the game of each, as a row of ``boards``.
        ply: the ply of each.
    """

    def __init__(self, boards: Boards, where: Bool[Tensor, "game ply"] | None = None):
        """``boards`` [game, ply] begin at ply 0; ``where`` are the valid positions if not given.

        Raises:
            InputError: ``where`` is of another shape than the boards, or marks no position.
        """
        if boards.mine.ndim != 2:
            raise InputError(f"boards are [game, ply] from ply 0, not of shape {list(boards.mine.shape)}")
        self.where = boards.valid if where is None else where
        if self.where.shape != boards.valid.shape:
            raise InputError(
                f"where has the shape {list(self.where.shape)}, and the boards {list(boards.valid.shape)} (game, ply)"
            )
        self.row, self.ply = self.where.nonzero(as_tuple=True)
        self.n = len(self.row)
        if not self.n:
            raise InputError("there are no positions to look at: none is marked")
        self._boards, self._now = boards, boards[self.where]
        self.words = -(-self.n // 64)
        self._allowed = self.pack(self._now.valid)  # no rule holds on padding or where nobody can move
        self._columns: dict[Rule, Tensor] = {}

    def __len__(self) -> int:
        return self.n

    # ---- bits and booleans ---------------------------------------------------------------------------------

    def pack(self, holds: Bool[Tensor, "n"]) -> Int[Tensor, "words"]:
        """One bit a position, position 0 lowest in word 0; the bits past the last position are 0."""
        if holds.shape != (self.n,):
            raise InputError(f"one boolean a position is needed, {self.n} of them, not {list(holds.shape)}")
        return torch.from_numpy(self._packed(holds.cpu().numpy()).view(np.int64))

    def unpack(self, words: Int[Tensor, "words"]) -> Bool[Tensor, "n"]:
        """The inverse of `pack`."""
        octets = words.contiguous().numpy().view(np.uint8)
        return torch.from_numpy(np.unpackbits(octets, count=self.n, bitorder="little").view(bool))

    def _packed(self, holds: np.ndarray) -> np.ndarray:
        """[n] of anything, non-zero for True -> bytes, filled up to whole words."""
        octets = np.zeros(self.words * 8, np.uint8)
        octets[: -(-self.n // 8)] = np.packbits(holds, bitorder="little")
        return octets

    # ---- rules ---------------------------------------------------------------------------------------------

    def holds(self, rule: Rule) -> Bool[Tensor, "n"]:
        """Where the rule holds: ``rule.holds(boards)[where]``."""
        return self.unpack(self.evaluate(rule))

    def count(self, rule: Rule) -> int:
        """At how many positions the rule holds."""
        # unsigned: of a negative number numpy counts the bits of its absolute value
        return int(np.bitwise_count(self.evaluate(rule).numpy().view(np.uint64)).sum())

    def evaluate(self, rule: Rule) -> Int[Tensor, "words"]:
        """The positions where the rule holds, packed."""
        self.prepare(rule.atoms)
        out = torch.empty(self.words, dtype=torch.int64)
        spare: list[Tensor] = []
        for start in range(0, self.words, CHUNK):
            piece = slice(start, start + CHUNK)
            self._write(rule, out[piece], piece, spare)
        return out.bitwise_and_(self._allowed)

    def _write(self, rule: Rule, out: Tensor, piece: slice, spare: list[Tensor]) -> None:
        """One piece of a rule's words into ``out``; ``spare`` are buffers free for use."""
        if isinstance(rule, Constant):
            out.fill_(-1 if rule.value else 0)
        elif _is_literal(rule):
            out.copy_(self._literal(rule)[piece])
        elif isinstance(rule, Not):
            self._write(rule.rule, out, piece, spare)
            out.bitwise_not_()
        else:
            join = torch.bitwise_and if isinstance(rule, And) else torch.bitwise_or
            literals = [self._literal(part)[piece] for part in rule.rules if _is_literal(part)]
            others = [part for part in rule.rules if not _is_literal(part)]
            if len(literals) > 1:
                join(literals[0], literals[1], out=out)
                for column in literals[2:]:
                    join(out, column, out=out)
            elif literals:
                out.copy_(literals[0])
            else:
                self._write(others.pop(), out, piece, spare)
            for part in others:
                own = spare.pop() if spare else torch.empty(min(CHUNK, self.words), dtype=torch.int64)
                self._write(part, own[: len(out)], piece, spare)
                join(out, own[: len(out)], out=out)
                spare.append(own)

    def _literal(self, rule: Rule) -> Tensor:
        """The column of an atom or of its negation (whose tail may be set)."""
        if rule not in self._columns:
            if isinstance(rule, Not):
                self._columns[rule] = ~self._literal(rule.rule)
            else:
                self.prepare([rule])
        return self._columns[rule]

    # ---- columns -------------------------------------------------------------------------------------------

    def column(self, atom: Atom) -> Int[Tensor, "words"]:
        """Where one atom holds, packed; kept for the next time, so not to be written to."""
        return self._literal(atom)

    def prepare(self, atoms: Iterable[Atom]) -> None:
        """Make the columns of many atoms at once, which is faster than one by one."""
        boards: dict[tuple[str, int], list[Literal]] = defaultdict(list)
        lines: dict[int, list[Line]] = defaultdict(list)
        others: list[Atom] = []
        for atom in dict.fromkeys(atoms):
            if atom in self._columns:
                continue
            if isinstance(atom, Literal):
                boards[atom.name, atom.back].append(atom)
            elif isinstance(atom, Line):
                lines[atom.back].append(atom)
            else:
                others.append(atom)
        for (name, back), wanted in boards.items():
            planes = _planes(self._bits(name, back))
            for atom in wanted:
                self._keep(atom, _plane(planes, atom.square))
        for back, wanted in lines.items():
            self._keep_lines(back, wanted)
        for atom in others:
            self._keep(atom, self._plain(atom).numpy())

    def _keep(self, atom: Atom, holds: np.ndarray) -> None:
        column = torch.from_numpy(self._packed(holds).view(np.int64))
        self._columns[atom] = column.bitwise_and_(self._allowed)

    def _then(self, back: int) -> tuple[Boards, Bool[Tensor, "n"]]:
        """The positions ``back`` plies earlier (any other where there is none), and where there is one."""
        if not back:
            return self._now, torch.ones(self.n, dtype=torch.bool)
        return self._boards[self.row, (self.ply - back).clamp(min=0)], self.ply >= back

    def _bits(self, name: str, back: int) -> Int[Tensor, "n"]:
        then, exists = self._then(back)
        bits = literal_bits(then, name)
        if back and name in RELATIVE:
            other = literal_bits(then, RELATIVE[1 - RELATIVE.index(name)])
            bits = torch.where(then.black_to_move == self._now.black_to_move, bits, other)
        return torch.where(exists, bits, 0) if back else bits

    def _plain(self, atom: Atom) -> Bool[Tensor, "n"]:
        then, exists = self._then(atom.back)
        if isinstance(atom, Count) and atom.what == "ply":
            now = (self.ply - atom.back >= atom.low) & (self.ply - atom.back <= atom.high)
        else:
            now = atom.at(then, self._now.black_to_move)
        return (now & exists).cpu()

    def _keep_lines(self, back: int, wanted: list[Line]) -> None:
        then, exists = self._then(back)
        if len(wanted) == 1:
            self._keep(wanted[0], (wanted[0].at(then, self._now.black_to_move) & exists).cpu().numpy())
            return
        octets = np.zeros((len(wanted), self.words * 8), np.uint8)
        for start in range(0, self.n, _AT_ONCE):
            piece = slice(start, min(start + _AT_ONCE, self.n))
            bits = pattern_bits(then[piece])
            if back:
                bits = torch.where(exists[piece], bits, 0)
            planes = {}
            for own, atom in zip(octets, wanted, strict=True):
                key = DIRECTIONS.index(atom.pattern.direction), atom.pattern.flanked - 1
                if key not in planes:
                    planes[key] = _planes(bits[key])
                packed = np.packbits(_plane(planes[key], atom.pattern.square), bitorder="little")
                own[start // 8 : start // 8 + len(packed)] = packed
        for own, atom in zip(octets, wanted, strict=True):
            self._columns[atom] = torch.from_numpy(own.view(np.int64)).bitwise_and_(self._allowed)


def _is_literal(rule: Rule) -> bool:
    return isinstance(rule, Atom) or (isinstance(rule, Not) and isinstance(rule.rule, Atom))


def _planes(bits: Int[Tensor, "n"]) -> np.ndarray:
    """The bytes of bitboards, [8, n]: a square's bit is then in one row of bytes side by side."""
    octets = bits.cpu().contiguous().numpy().view(np.uint8).reshape(-1, 8)
    return np.ascontiguousarray(octets.T)


def _plane(planes: np.ndarray, square: int) -> np.ndarray:
    """Non-zero where the square's bit is set, [n]."""
    return planes[square // 8] & np.uint8(1 << square % 8)
