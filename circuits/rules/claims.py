"""What a unit is said to write: the right-hand side of a claim, "rule => effects".

    C0 empty & D1 theirs => B4 theirs, +C0, -L1N421

An effect is a reading of the checkpoint (a square's state), a move's logit, or another unit's activation, with a sign.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from circuits import notation
from circuits.errors import InputError
from circuits.notation import LABELS
from circuits.rules.atoms import RELATIVE, Literal
from circuits.rules.formulas import And, Not, Rule, conjunction, disjunction
from circuits.rules.misuse import NoRule, no_rule, shorten, whole

_WRITTEN = "a square's state (sq.B4.theirs), a move's logit (+sq.C0, -sq.C0) or a unit ('-L1N421')"


@dataclass(frozen=True)
class Effect(NoRule):
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
        if self.kind not in ("reading", "logit", "unit"):
            raise InputError(f"{self.kind!r} is no kind of effect: reading, logit or unit")
        if whole(self.sign, "sign") not in (1, -1):
            raise InputError(f"sign {self.sign}: give 1 or -1")
        if self.kind == "unit":
            if not isinstance(self.name, str):
                raise InputError(f"{shorten(repr(self.name))} names no unit: a neuron is written L5N1393, a head L2H5")
            notation.parse_unit(self.name)
        else:
            notation.label(whole(self.square, "square"))
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

    @property
    def instead(self) -> str:
        return f"{self} is what a unit writes, no rule: put it behind one in brackets, (a & b) >> [effect, effect]"


@dataclass(frozen=True)
class Claim(NoRule):
    """A rule and what the unit writes where it holds, maybe nothing said."""

    rule: Rule
    effects: tuple[Effect, ...] = ()

    instead = (
        "'rule >> effects' is a claim, no rule: put brackets round the whole rule and all effects in one list,"
        " (a & b) >> [effect, effect]"
    )

    def __post_init__(self) -> None:
        if not isinstance(self.rule, Rule):
            raise InputError(no_rule(self.rule))
        if not isinstance(self.effects, tuple) or not all(isinstance(effect, Effect) for effect in self.effects):
            raise InputError(f"{shorten(repr(self.effects))} is no tuple of effects: write (a & b) >> effects")

    def __str__(self) -> str:
        return f"{self.rule} ⇒ {', '.join(map(str, self.effects))}" if self.effects else str(self.rule)

    # ">>" binds tighter than "&" and "|" in Python: ``a & b >> c`` is meant as ``(a & b) >> c``.
    def __rand__(self, rule) -> "Claim":
        return Claim(conjunction((rule, self.rule)), self.effects)

    def __ror__(self, rule) -> "Claim":
        return Claim(disjunction((rule, self.rule)), self.effects)


def as_claim(given) -> Claim:
    """The claim that somebody gives: as text, as a rule, or as it is.

    Raises:
        InputError: it is none of these, or the text says none.
    """
    if isinstance(given, str):
        from circuits.rules.text import parse_claim

        return parse_claim(given)
    if not isinstance(given, Claim | Rule):
        raise InputError(no_rule(given))
    return given if isinstance(given, Claim) else Claim(given)


def as_effects(given) -> tuple[Effect, ...]:
    """What is written, from effects, from text, or from a formula of squares' states.

    Raises:
        InputError: nothing that a unit writes.
    """
    if isinstance(given, str):
        from circuits.rules.text import parse_effects

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
        raise InputError(f"{shorten(given)} is nothing that a unit writes: {_WRITTEN}")
    return tuple(dict.fromkeys(effect for one in given for effect in as_effects(one)))
