"""What rules may be built of, and where it holds: made once for a sample, and used for all activations.

    literals     what trees ask about: `literals.STANDARD`
    facts        what conjunctions are built of: the literals, then the 960 patterns

Both are those that hold and fail often enough in the training games. A fact's negation needs no column of its own: in
the code of a literal, 0 ... F - 1 are the facts and F ... 2 F - 1 their negations.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Int, UInt8, UInt64
from torch import Tensor

from circuits.errors import InputError
from circuits.features import PATTERNS
from circuits.induction.bytes import Products, pack
from circuits.induction.literals import STANDARD, columns
from circuits.induction.sample import Sample, Side
from circuits.rules import MOST, Atom, Count, Line, Literal, Not, Rule, ToMove, conjunction, disjunction

#: training positions where a fact must hold, and where it must fail
LEAST = 50

#: one term: a conjunction, as codes of its literals in ascending order
Term = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Facts:
    """The facts at the positions of a sample.

    Attributes:
        atoms: the facts that vary, the first `n_literals` of them the literals that trees ask about.
        train: where each holds at the training positions, row-major.
        tried: how many literals there were before those that hardly vary were left out.
    """

    sample: Sample
    atoms: tuple[Atom, ...]
    n_literals: int
    train: Bool[Tensor, "n fact"]
    tried: int

    def __len__(self) -> int:
        return len(self.atoms)

    @property
    def literals(self) -> tuple[Atom, ...]:
        return self.atoms[: self.n_literals]

    def of(self, positions: Bool[Tensor, "n"]) -> "Facts":
        """The same facts at some of the training positions."""
        return replace(self, train=self.train[positions])

    @cached_property
    def packed(self) -> UInt8[Tensor, "fact byte"]:
        """Where each fact holds, one bit a position."""
        return pack(self.train)

    @cached_property
    def products(self) -> Products:
        """For sums over subsets of the training positions: where each fact holds, and in a last column everywhere."""
        return Products(torch.cat([self.train, torch.ones(len(self.train), 1, dtype=torch.bool)], 1))

    def words(self, side: Side) -> UInt64[np.ndarray, "fact word"]:
        """Where each fact holds at a side's positions, 64 of them to a word; kept for the next time."""
        if id(side) not in self._words:
            self._words[id(side)] = (
                torch.stack([side.packed.column(atom) for atom in self.atoms]).numpy().view("uint64")
            )
        return self._words[id(side)]

    def where(self, terms: Iterable[Term], side: Side) -> Int[np.ndarray, "m"]:
        """The positions of a side at which one of the terms holds, in order."""
        words = self.words(side)
        held = np.zeros_like(words[0])
        for term in terms:
            own = [words[c] if c < len(self) else ~words[c - len(self)] for c in term]
            held |= np.bitwise_and.reduce(own)
        return np.unpackbits(held.view(np.uint8), count=side.n, bitorder="little").nonzero()[0]

    @cached_property
    def _matrices(self) -> dict[int, Tensor]:
        return {}

    @cached_property
    def _words(self) -> dict[int, np.ndarray]:
        return {}

    def matrix(self, side: Side) -> Bool[Tensor, "n literal"]:
        """The literals' columns at a side's positions, row-major; kept for the next time."""
        if id(side) not in self._matrices:
            train = side is self.sample.train
            self._matrices[id(side)] = (
                self.train[:, : self.n_literals].contiguous() if train else columns(side.packed, self.literals)
            )
        return self._matrices[id(side)]

    def literal(self, code: int) -> Rule:
        """The atom of a code, or the atom that says the opposite, or its negation."""
        return self._by_code[code]

    @cached_property
    def _by_code(self) -> list[Rule]:
        return [*self.atoms, *map(_opposite, self.atoms)]

    def rule(self, terms: Iterable[Term]) -> Rule:
        """The "or" of the terms."""
        return disjunction(conjunction(map(self.literal, term)) for term in terms)


def _opposite(atom: Atom) -> Rule:
    if isinstance(atom, Literal) and atom.name == "empty" and not atom.back:
        return Literal(atom.square, "occupied")
    if isinstance(atom, Count) and atom.low and atom.high == MOST and not atom.back:
        return Count(atom.what, high=atom.low - 1)
    if isinstance(atom, ToMove) and not atom.back:
        return ToMove(not atom.black)
    return Not(atom)


def facts(sample: Sample, literals: Sequence[Atom] = STANDARD, patterns: bool = True, least: int = LEAST) -> Facts:
    """The facts of a sample.

    Args:
        literals: what trees may ask about; patterns: whether conjunctions may name one of the 960.
        least: training positions where a fact must hold, and where it must fail, to be of use.

    Raises:
        InputError: no literal varies so much; more than memory allows.
    """
    packed = sample.train.packed
    wanted = (*literals, *(map(Line, PATTERNS) if patterns else ()))
    packed.prepare(wanted)
    n = torch.tensor([packed.count(atom) for atom in wanted])
    enough = (n >= least) & (n <= packed.n - least)
    n_literals = int(enough[: len(literals)].sum())
    if not n_literals:
        raise InputError(
            f"none of {len(literals)} literals both holds and fails at {least} of {packed.n} training positions: "
            "give more games, or literals that vary"
        )
    atoms = tuple(atom for atom, keep in zip(wanted, enough.tolist(), strict=True) if keep)
    for side in sample.sides:
        side.packed.prepare(atoms)
    return Facts(sample, atoms, n_literals, columns(packed, atoms), len(literals))
