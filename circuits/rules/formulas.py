"""Formulas: "and", "or" and "not" over atoms, made canonical as they are built.

Nested "and"s and "or"s are flattened, sorted by `Rule.key` and without repeats, double negations undone and constants
absorbed, so that formulas that differ only so compare and print equal. What they may be about is in
`circuits.rules.atoms`; `circuits.rules` is the door to all of it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool
from torch import Tensor

from circuits.errors import InputError
from circuits.notation import N_CTX
from circuits.othello import Boards
from circuits.rules.misuse import no_rule, whole


class Rule:
    """A formula; combine with ``&``, ``|``, ``~``; ``rule >> effects`` adds what the unit is said to write."""

    key: tuple  # by which parts are sorted

    def __and__(self, other) -> "Rule":
        return NotImplemented if _is_claim(other) else conjunction((self, other))

    def __or__(self, other) -> "Rule":
        return NotImplemented if _is_claim(other) else disjunction((self, other))

    def __rand__(self, other):  # only what is no rule comes here
        raise TypeError(no_rule(other))

    __ror__ = __rrshift__ = __rand__

    def __invert__(self) -> "Rule":
        return Not(self)

    def __rshift__(self, effects):
        """A `Claim`: what the unit writes where the rule holds, as `Effect`s, squares' states or text."""
        from circuits.rules.claims import Claim, as_effects

        return Claim(self, as_effects(effects))

    def __matmul__(self, back):
        raise TypeError(
            f"'@' goes behind each fact, not behind a formula: (sq.C0.empty @ {back}) & ~(sq.D1.mine @ {back})"
        )

    def __bool__(self) -> bool:
        raise TypeError("a rule is neither true nor false by itself: write & | ~ between rules, not 'and', 'or', 'not'")

    @cached_property
    def atoms(self) -> "tuple[Atom, ...]":
        """The different atoms, in canonical order."""
        raise NotImplementedError

    def replace(self, f: "Callable[[Atom], Rule]") -> "Rule":
        """The same formula with ``f(atom)`` in each atom's place."""
        raise NotImplementedError

    def holds(self, boards: Boards) -> Bool[Tensor, "game ply"]:
        """Where it holds, of boards that begin at ply 0; False on padding and where nobody can move.

        The plain way; `circuits.rules.bits` is the fast one.
        """
        return self._holds(boards) & boards.valid

    def _holds(self, boards: Boards) -> Bool[Tensor, "game ply"]:
        raise NotImplementedError


@dataclass(frozen=True)
class Constant(Rule):
    """Always or never."""

    value: bool

    def __str__(self) -> str:
        return "true" if self.value else "false"

    def __invert__(self) -> Rule:
        return Constant(not self.value)

    @property
    def key(self) -> tuple:
        return (7, (self.value,), "")

    atoms = ()

    def replace(self, f: Callable) -> Rule:
        return self

    def _holds(self, boards: Boards) -> Tensor:
        return torch.full_like(boards.valid, self.value)


TRUE, FALSE = Constant(True), Constant(False)


@dataclass(frozen=True)
class Atom(Rule):
    """One fact; ``back`` plies ago."""

    def __post_init__(self) -> None:
        if not 0 <= whole(self.back, "back") < N_CTX:
            raise InputError(f"back {self.back}: give how many plies earlier, 0 to {N_CTX - 1}")

    def __matmul__(self, back) -> "Atom":
        """``atom @ -1``: one ply earlier."""
        if whole(back, f"{self} @") > 0 or self.back - back >= N_CTX:
            raise InputError(f"{self} @ {back}: give how many plies earlier, from @-1 to @-{N_CTX - 1}")
        return replace(self, back=self.back - back)

    @cached_property
    def atoms(self) -> tuple["Atom", ...]:
        return (self,)

    def replace(self, f: Callable) -> Rule:
        return f(self)

    def _holds(self, boards: Boards) -> Tensor:
        now = torch.zeros_like(boards.valid)
        plies = boards.valid.shape[-1] - self.back
        if plies > 0:
            now[..., self.back :] = self.at(boards[..., :plies], boards.black_to_move[..., self.back :])
        return now

    def at(self, then: Boards, black_now: Bool[Tensor, "*batch"]) -> Bool[Tensor, "*batch"]:
        """Whether it holds in the positions ``then``, where ``back`` plies later black moves or not."""
        raise NotImplementedError

    def _when(self) -> str:
        return f" @-{self.back}" if self.back else ""


@dataclass(frozen=True)
class Not(Rule):
    """The opposite; ``Not(Not(r))`` and ``~~r`` are r."""

    rule: Rule

    def __new__(cls, rule):
        if isinstance(rule, Not):
            return rule.rule
        if not isinstance(rule, Rule):
            raise TypeError(no_rule(rule))
        return ~rule if isinstance(rule, Constant) else super().__new__(cls)

    def __str__(self) -> str:
        return f"!{_inside(self.rule)}"

    def __invert__(self) -> Rule:
        return self.rule

    @property
    def key(self) -> tuple:
        rank, numbers, text = self.rule.key
        return (rank, numbers, f"{text}!")

    @cached_property
    def atoms(self) -> tuple[Atom, ...]:
        return self.rule.atoms

    def __getnewargs__(self) -> tuple[Rule]:  # `copy` and `pickle` call __new__
        return (self.rule,)

    def replace(self, f: Callable) -> Rule:
        return Not(self.rule.replace(f))

    def _holds(self, boards: Boards) -> Tensor:
        return ~self.rule._holds(boards)


@dataclass(frozen=True)
class _Several(Rule):
    rules: tuple[Rule, ...]

    @cached_property
    def key(self) -> tuple:
        return (8, (len(self.rules),), str(self))

    @cached_property
    def atoms(self) -> tuple[Atom, ...]:
        return tuple(sorted({atom for rule in self.rules for atom in rule.atoms}, key=lambda atom: atom.key))

    def __str__(self) -> str:
        return f" {self.sign} ".join(map(_inside, self.rules))


@dataclass(frozen=True)
class And(_Several):
    """All hold; made by ``&`` or `conjunction`."""

    sign = "&"

    def replace(self, f: Callable) -> Rule:
        return conjunction(rule.replace(f) for rule in self.rules)

    def _holds(self, boards: Boards) -> Tensor:
        return torch.stack([rule._holds(boards) for rule in self.rules]).all(0)


@dataclass(frozen=True)
class Or(_Several):
    """One holds at least; made by ``|`` or `disjunction`."""

    sign = "|"

    def replace(self, f: Callable) -> Rule:
        return disjunction(rule.replace(f) for rule in self.rules)

    def _holds(self, boards: Boards) -> Tensor:
        return torch.stack([rule._holds(boards) for rule in self.rules]).any(0)


def _is_claim(other: object) -> bool:
    from circuits.rules.claims import Claim

    return isinstance(other, Claim)


def _inside(rule: Rule) -> str:
    return f"({rule})" if isinstance(rule, _Several) else str(rule)


def conjunction(rules: Iterable) -> Rule:
    """All of them; of none, `TRUE`.

    Raises:
        TypeError: one is no rule.
    """
    return _several(And, rules, TRUE)


def disjunction(rules: Iterable) -> Rule:
    """One of them at least; of none, `FALSE`.

    Raises:
        TypeError: one is no rule.
    """
    return _several(Or, rules, FALSE)


def _several(kind: type[_Several], rules: Iterable, neutral: Constant) -> Rule:
    parts: set[Rule] = set()
    for rule in rules:
        if not isinstance(rule, Rule):
            raise TypeError(no_rule(rule))
        parts |= set(rule.rules) if isinstance(rule, kind) else {rule}
    if ~neutral in parts:
        return ~neutral
    parts.discard(neutral)
    ordered = tuple(sorted(parts, key=lambda rule: rule.key))
    return kind(ordered) if len(ordered) > 1 else ordered[0] if ordered else neutral
