"""What a unit is said to write: the right-hand side of a claim, "rule => effects".

    C0 empty & D1 theirs => B4 theirs, +C0, -L1N421

An effect is a reading of the checkpoint (a square's state), a move's logit, or another unit's activation, with a sign.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from circuits import notation
from circuits.errors import InputError
from circuits.notation import LABELS
from circuits.rule_atoms import RELATIVE, Literal
from circuits.rule_formulas import And, Not, Rule


@dataclass(frozen=True)
class Effect:
    """One thing that a unit writes: a reading of the checkpoint, a move's logit, or another unit; ``sign`` 1 or -1.

    Attributes:
        kind: ``"reading"`` (of ``name``: empty, mine or theirs on ``square``), ``"logit"`` (of ``square``) or
            ``"unit"`` (``name``, such as ``"L1N421"``).
    """

    kind: str
    sign: int
    square: int | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if self.kind == "reading" and self.name not in ("empty", *RELATIVE):
            raise InputError(f"{self.name!r} is nothing that a unit writes to a square: empty, mine or theirs")
        if self.kind == "logit" and self.square in notation.CENTRE:
            raise InputError(f"{LABELS[self.square]} is a centre square: no move is ever played there, so has no logit")
        if self.kind == "reading" and self.square in notation.CENTRE and self.name == "empty":
            raise InputError(f"{LABELS[self.square]} is a centre square, which is never empty: say mine or theirs")

    def __str__(self) -> str:
        sign = "+" if self.sign > 0 else "-"
        if self.kind == "unit":
            return f"{sign}{self.name}"
        if self.kind == "logit":
            return f"{sign}{LABELS[self.square]}"
        return f"{'' if self.sign > 0 else '-'}{LABELS[self.square]} {self.name}"


@dataclass(frozen=True)
class Claim:
    """A rule and what the unit writes where it holds, maybe nothing said."""

    rule: Rule
    effects: tuple[Effect, ...] = ()

    def __str__(self) -> str:
        return f"{self.rule} ⇒ {', '.join(map(str, self.effects))}" if self.effects else str(self.rule)

    # ">>" binds tighter than "&" and "|" in Python: ``a & b >> c`` is meant as ``(a & b) >> c``.
    def __rand__(self, rule: Rule) -> "Claim":
        return Claim(rule & self.rule, self.effects) if isinstance(rule, Rule) else NotImplemented

    def __ror__(self, rule: Rule) -> "Claim":
        return Claim(rule | self.rule, self.effects) if isinstance(rule, Rule) else NotImplemented


def as_effects(given: Effect | Rule | str | Iterable) -> tuple[Effect, ...]:
    """What is written, from effects, from text, or from a formula of squares' states.

    Raises:
        InputError: nothing that a unit writes.
    """
    if isinstance(given, str):
        from circuits.rule_text import parse_effects

        return parse_effects(given)
    if isinstance(given, Effect):
        return (given,)
    if isinstance(given, And):
        return tuple(effect for rule in given.rules for effect in as_effects(rule))
    if isinstance(given, Not) and isinstance(given.rule, Literal):
        return tuple(replace(effect, sign=-effect.sign) for effect in as_effects(given.rule))
    if isinstance(given, Literal) and not given.back:
        return (Effect("reading", 1, given.square, given.name),)
    if isinstance(given, Rule) or not isinstance(given, Iterable):
        raise InputError(
            f"{given} is nothing that a unit writes: a square's state, +C0 or -C0, or a unit, as in -L1N421"
        )
    return tuple(dict.fromkeys(effect for one in given for effect in as_effects(one)))
