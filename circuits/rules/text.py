"""Rules and claims as text, by a grammar; whatever else the text is, `RuleSyntaxError` says where it went wrong.

    C0 empty & D1 theirs & (E2 mine | F3 mine) & !A0 occupied & ply >= 20
    played A4 & B4 occupied @-1 & black to move        "A4 played" and "A4 was just played" are the same
    legal C0 via SE x1 & flips >= 3 & ply in 10..20    and so is "10 <= ply <= 20"
    A4 played & B4 occupied => B4, C4, D4 become theirs, +C0, -L1N421

Upper and lower case are the same; "and", "or", "not" and the signs of logic may be written for ``&``, ``|``, ``!``, and
"⇒", "=>" or "->" before what the unit writes. ``parse_rule(str(rule)) == rule``.
"""

from functools import cache

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from circuits import notation
from circuits.errors import InputError
from circuits.features import Pattern
from circuits.notation import N_CTX
from circuits.rules.atoms import MOST, Count, Line, Literal, Passed, ToMove
from circuits.rules.claims import Claim, Effect
from circuits.rules.complaints import RuleSyntaxError, complaint
from circuits.rules.formulas import FALSE, TRUE, Rule, conjunction, disjunction
from circuits.rules.grammar import GRAMMAR
from circuits.rules.misuse import shorten

LONGEST, DEEPEST = 20_000, 100  # characters, and brackets within brackets

# Only what keeps every column where it is; other letters that Python takes for these are no part of the language.
_PLAIN = str.maketrans({**{chr(c): chr(c + 32) for c in range(ord("A"), ord("Z") + 1)}, "−": "-", "–": "-"})


def parse_rule(text: str) -> Rule:
    """The rule that a text says.

    Raises:
        RuleSyntaxError: it says none, or also what the unit writes (`parse_claim` reads that).
    """
    return _parse(text, "rule")


def parse_claim(text: str) -> Claim:
    """A rule and, after "⇒", "=>" or "->", what the unit writes; the effects may be left out.

    Raises:
        RuleSyntaxError: the text is neither.
    """
    return _parse(text, "claim")


def parse_effects(text: str) -> tuple[Effect, ...]:
    """What a unit writes: "B4 theirs", "-B4 theirs", "B4, C4 become theirs", "+C0", "-L1N421", with commas between.

    Raises:
        RuleSyntaxError: the text says nothing that a unit writes.
    """
    return _parse(text, "effects")


def _parse(text: str, what: str) -> Rule | Claim | tuple[Effect, ...]:
    if len(text) > LONGEST:
        raise RuleSyntaxError(LONGEST + 1, f"the text goes on: at most {LONGEST:,} characters are read")
    depth = 0
    for column, sign in enumerate(text, 1):
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if depth > DEEPEST:
            raise RuleSyntaxError(column, f"more than {DEEPEST} brackets within each other")
    try:
        return _parser().parse(text.translate(_PLAIN), start=what)
    except UnexpectedInput as error:
        if isinstance(error, UnexpectedToken):
            # At the end of the text lark names the last token's place.
            at = len(text) if error.token.type == "$END" else error.token.start_pos
            expected = set(error.expected)
        else:
            assert isinstance(error, UnexpectedCharacters), error
            at, expected = error.pos_in_stream, set(error.allowed or ())
        raise complaint(text, at, expected, what) from None


@cache
def _parser() -> Lark:
    return Lark(
        GRAMMAR, parser="lalr", transformer=_Reader(), start=["rule", "claim", "effects"], maybe_placeholders=False
    )


def _column(token: Token) -> int:
    return token.start_pos + 1


def _square(token: Token) -> int:
    try:
        return notation.square(token.upper())
    except notation.OtherNotation:
        ours = notation.label(notation.square(token.upper(), "standard"))
        name = token.upper()
        why = f"'{name}' is standard notation, and rules are in ours, a letter A-H and a digit 0-7: {ours} there"
        raise RuleSyntaxError(_column(token), why) from None
    except InputError as error:
        raise RuleSyntaxError(_column(token), str(error)) from None


def _number(token: Token) -> int:
    value = int(token) if len(token) <= 4 else MOST + 1
    if value > MOST:
        raise RuleSyntaxError(_column(token), f"{shorten(token)} is more than anything counted: 0 to {MOST}")
    return value


#: the other way round, for "20 <= ply"
_MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}


def _sign(token: str) -> str:
    return {"≥": ">=", "≤": "<=", "≠": "!=", "==": "="}.get(token, str(token))


def _bounds(sign: str, number: Token) -> tuple[int, int]:
    """Lowest and highest count that ``sign number`` allows."""
    n = _number(number)
    low, high = {">=": (n, MOST), ">": (n + 1, MOST), "<=": (0, n), "<": (0, n - 1)}.get(sign, (n, n))
    if low > MOST or high < 0:
        raise RuleSyntaxError(_column(number), f"nothing counted is {sign} {n}: counts are 0 to {MOST}")
    return low, high


class _Reader(Transformer):
    """Makes rules as the grammar's rules are recognised; whatever it refuses has a column."""

    def rule(self, parts: list) -> Rule:
        return parts[0]

    bracket = rule

    def claim(self, parts: list) -> Claim:
        return Claim(*parts)

    def disjunction(self, parts: list) -> Rule:
        return disjunction(parts)

    def conjunction(self, parts: list) -> Rule:
        return conjunction(parts)

    def negation(self, parts: list) -> Rule:
        return ~parts[0]

    def earlier(self, parts: list) -> Rule:
        fact, back = parts
        digits = "".join(back.split()).lstrip("-")
        if not digits.isdecimal() or len(digits) > 4 or (int(digits) and not back.startswith("-")):
            raise RuleSyntaxError(_column(back), f"@{shorten(back)} is not earlier: one ply ago is @-1")
        if int(digits) >= N_CTX:
            raise RuleSyntaxError(_column(back), f"@{back} is before any game: at most @-{N_CTX - 1}")
        if not fact.atoms:
            raise RuleSyntaxError(_column(back), f"'{fact}' is the same at every ply, so takes no @{back}")
        return fact.replace(lambda atom: atom @ -int(digits))

    # ---- facts ---------------------------------------------------------------------------------------------

    def state(self, parts: list) -> str:
        return str(parts[0])

    disc = count = state

    def literal(self, parts: list) -> Rule:
        return Literal(_square(parts[0]), str(parts[1]))

    def stated(self, parts: list) -> Rule:
        return self.literal(parts[::-1])

    def line(self, parts: list) -> Rule:
        legal, square, direction, flanked = parts
        try:
            return Line(Pattern(_square(square), direction.upper(), int(flanked[1:])))
        except RuleSyntaxError:
            raise
        except InputError as error:
            raise RuleSyntaxError(_column(legal), str(error)) from None

    def compared(self, parts: list) -> Rule:
        what, sign, number = parts[0], _sign(parts[1]), parts[2]
        count = Count(what, *_bounds(sign, number))
        return ~count if sign == "!=" else count

    def mirrored(self, parts: list) -> Rule:
        number, sign, what = parts
        return self.compared([what, _MIRRORED[_sign(sign)], number])

    def squeezed(self, parts: list) -> Rule:
        first, sign, what, second_sign, last = parts
        signs = _MIRRORED[_sign(sign)], _sign(second_sign)
        if {one[0] for one in signs} != {"<", ">"}:
            why = f"'{sign}' and '{second_sign}' bound {what} from no two sides, as 10 <= {what} <= 20 does"
            raise RuleSyntaxError(_column(second_sign), why)
        lows, highs = zip(_bounds(signs[0], first), _bounds(signs[1], last), strict=True)
        if max(lows) > min(highs):
            why = f"nothing counted is {signs[0]} {first} and {signs[1]} {last}: write 10 <= {what} <= 20"
            raise RuleSyntaxError(_column(first), why)
        return Count(what, max(lows), min(highs))

    def between(self, parts: list) -> Rule:
        what, low, high = parts[0], _number(parts[1]), _number(parts[2])
        if low > high:
            raise RuleSyntaxError(_column(parts[1]), f"the bounds are the wrong way round: write {what} {high}..{low}")
        return Count(what, low, high)

    def to_move(self, parts: list) -> Rule:
        return ToMove(parts[0] == "black")

    def passed(self, parts: list) -> Rule:
        return Passed()

    def true(self, parts: list) -> Rule:
        return TRUE

    def false(self, parts: list) -> Rule:
        return FALSE

    # ---- what a unit writes --------------------------------------------------------------------------------

    def effects(self, parts: list) -> tuple[Effect, ...]:
        return tuple(dict.fromkeys(effect for part in parts for effect in part))

    def squares(self, parts: list) -> list[Token]:
        return parts

    def logit(self, parts: list) -> list[Effect]:
        return [_effect("logit", *parts)]

    def signed(self, parts: list) -> list[Effect]:
        return [_effect("reading", *parts)]

    def readings(self, parts: list) -> list[Effect]:
        return [_effect("reading", "+", square, parts[1]) for square in parts[0]]

    def unit(self, parts: list) -> list[Effect]:
        return [Effect("unit", 1 if parts[0] == "+" else -1, name=str(notation.parse_unit(parts[1])))]


def _effect(kind: str, sign: str, square: Token, state: str | None = None) -> Effect:
    try:
        return Effect(kind, 1 if sign == "+" else -1, _square(square), None if state is None else str(state))
    except RuleSyntaxError:
        raise
    except InputError as error:
        raise RuleSyntaxError(_column(square), str(error)) from None
