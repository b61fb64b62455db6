"""What to say of a text that is no rule: the column, the word found there, and in plain words what may stand there.

The parser knows which terminals of the grammar (`circuits.rules.text`) it would have taken; each set of them comes down
to one of a few sentences.
"""

import difflib
import re

from circuits.errors import InputError
from circuits.features import DIRECTIONS, LITERALS, MAX_FLANKED
from circuits.rules.atoms import COUNTS
from circuits.rules.misuse import shorten

EVENTS = ("played", "flipped")
WRITTEN = ("empty", "mine", "theirs")
#: words with which a fact may begin
_BEGINNINGS = ("black", "white", "legal", *EVENTS, "ply", "flips", "moves", "passed", "not", "true", "false")
FACTS = "a fact such as 'C0 empty', 'A4 played', 'legal C0 via SE x1', 'ply >= 20' or 'black to move'"
_STATE = "fact on a square"
EFFECTS = "something that a unit writes, such as 'B4 theirs', '+C0' or '-L1N421'"


class RuleSyntaxError(InputError):
    """The text is no rule (or claim). ``column`` counts from 1; just past the text where it ends too early."""

    def __init__(self, column: int, why: str):
        self.column = column
        super().__init__(f"column {column}: {why}")


def complaint(text: str, at: int, expected: set[str], what: str) -> RuleSyntaxError:
    """The error for what is found at an index of a text.

    Args:
        expected: terminals of the grammar that would have been taken there.
        what: the rule of the grammar asked for: "rule", "claim" or "effects".
    """
    at += len(text[at:]) - len(text[at:].lstrip())
    match = re.compile(r"[^\W_]\w*|=>|->|\.\.|[<>!=]=|.", re.DOTALL).match(text, at)
    word = match[0] if match else ""
    column = at + 1
    found = f"'{shorten(word)}'" if word else "the end"
    if not text.strip():
        wanted = EFFECTS if what == "effects" else FACTS
        return RuleSyntaxError(1, f"the text is empty: write {wanted}")
    if word in ("⇒", "→", "=>", "->") and what == "rule" and not expected & {"_TRUE", "EMPTY"}:
        return RuleSyntaxError(column, f"{found} begins what the unit writes, and only a rule is wanted here")
    if hinted := _habit(text, at, word, expected):
        return hinted
    if word == ")" and "_CLOSE" not in expected and text[:at].count("(") <= text[:at].count(")"):
        return RuleSyntaxError(column, "this ')' closes no bracket: there is no '(' before it")
    if text.count("(") <= text.count(")"):
        expected = expected - {"_CLOSE"}
    wanted, words = _wanted(expected if what == "claim" else expected - {"_ARROW"})
    if not word and "_CLOSE" in expected:
        wanted = f"')' for the bracket opened at column {_open(text) + 1}"
    if wanted == EFFECTS and re.fullmatch("[lL][0-9]+[nNhH][0-9]+", word):
        why = f"{found} needs a sign: +{word.upper()} or -{word.upper()}"
    elif wanted == _STATE and word:
        why = f"{found} is no fact on a square: {', '.join(LITERALS)}"
    elif wanted == _STATE:
        why = f"what of the square? Say one of {', '.join(LITERALS)}"
    else:
        why = f"expected {wanted}, found {found}"
    close = difflib.get_close_matches(word.lower(), words, 1, 0.6) if len(word) <= 24 else []
    return RuleSyntaxError(column, why + (f" (did you mean '{close[0]}'?)" if close and close[0] != word else ""))


_SQUARE = r"\b([a-h][0-7])"
#: Python pasted as text, and how the text says it; the groups go into the braces
_PYTHON = tuple(
    (re.compile(pattern, re.IGNORECASE | re.ASCII), said)
    for pattern, said in (
        (rf"\bsq\.{_SQUARE}\.via\(\s*['\"](\w+)['\"]\s*,\s*([0-9])\s*\)", "legal {0} via {1} x{2}"),
        (rf"(?:\bsq\.)?{_SQUARE}\.({'|'.join(LITERALS)})\b", "{0} {1}"),
        (rf"\bsq\.{_SQUARE}", "{0} empty"),
        (r"\bsq\b", "C0 empty"),
        (rf"\b({'|'.join(COUNTS)})\.between\(\s*([0-9]+)\s*,\s*([0-9]+)\s*\)", "{0} {1}..{2}"),
        (r"\b(black|white)_to_move\b", "{0} to move"),
        (r">>", "=>"),
    )
)
_NOT = re.compile(r"(?:(?:is|was)n\s*['’]t\b|not\b|[!~¬])\s*(?:just\s+)?(\w*)", re.IGNORECASE | re.ASCII)
_NEAR = 60  # characters around an error in which its cause is looked for


def _habit(text: str, at: int, word: str, expected: set[str]) -> RuleSyntaxError | None:
    """The error where somebody wrote Python or English that is nearly the language; None where it is neither."""
    for pattern, said in _PYTHON:
        for match in pattern.finditer(text, max(0, at - _NEAR), at + _NEAR):
            if match.start() <= at < match.end():
                words = (group.upper() if len(group) == 2 else group.lower() for group in match.groups())
                why = f"'{shorten(match[0])}' is Python; in text: {said.format(*words)}"
                return RuleSyntaxError(match.start() + 1, why)
    before = text[max(0, at - _NEAR) : at]
    square = re.search(rf"{_SQUARE}\s+(?:(?:is|was)\s+)?$", before, re.IGNORECASE | re.ASCII)
    negated = _NOT.match(text, at)
    if square and negated and expected & {"EMPTY", "WRITTEN"}:
        states, sign = (LITERALS, "!") if "EMPTY" in expected else (WRITTEN, "-")
        state = negated[1].lower() if negated[1].lower() in states else states[0]
        return RuleSyntaxError(at + 1, f"'{sign}' goes before the square: {sign}{square[1].upper()} {state}")
    if word == "@" and before.rstrip().endswith(")"):
        why = "'@' goes behind each fact, not behind a bracket: (C0 empty @-1 & D1 mine @-1)"
        return RuleSyntaxError(at + 1, why)
    if re.search(r"\bjust\s+$", before, re.IGNORECASE) and re.fullmatch(_SQUARE, word, re.IGNORECASE):
        why = f"'just' goes behind the square: {word.upper()} just played, or just played {word.upper()}"
        return RuleSyntaxError(at + 1, why)
    if word == "." and (number := re.search(r"\b[0-9]+$", before, re.ASCII)):
        behind = re.match(r"\.[0-9]*", text[at : at + _NEAR])[0]
        why = f"'{shorten(number[0] + behind)}' is no whole number, and counts are"
        return RuleSyntaxError(at + 1 - len(number[0]), why)
    return None


#: terminals that decide what to say, the first that would have been taken; what is said; words that may be misspelt
_SAID = (
    ("FLANKED", f"how many discs are flanked, x1 to x{MAX_FLANKED}", ()),
    ("DIRECTION", f"a direction: {', '.join(DIRECTIONS)}", ()),
    ("BACK", "how many plies earlier, as in @-1", ()),
    ("_TRUE", FACTS, _BEGINNINGS),
    ("EMPTY", _STATE, LITERALS),
    ("WRITTEN", "what is written to the square: empty, mine or theirs", (*WRITTEN, "become")),
    ("SIGN", EFFECTS, ()),
    ("UNIT", "a square or a unit, such as C0 or L1N421", ()),
    ("EVENT", "'played' or 'flipped'", EVENTS),
    ("_TO", "'..' and a number, as in 10..20", ()),
    ("_TO_MOVE", "'to move', or a square", ("to",)),
    ("COUNT", f"something counted: {', '.join(COUNTS)}", tuple(COUNTS)),
)
_SIGNS = {"_VIA": "'via'", "_AND": "'&'", "_OR": "'|'", "_CLOSE": "')'", "_ARROW": "'=>'", "_ALSO": "','"}


def _wanted(expected: set[str]) -> tuple[str, tuple[str, ...]]:
    """What may stand there, in words, and the words that somebody may have misspelt."""
    for terminal, said, words in _SAID:
        if terminal in expected:
            return said + (", or ','" if terminal == "WRITTEN" and "_ALSO" in expected else ""), words
    if "COMPARE" in expected and "_AND" not in expected:
        return "a comparison such as '>= 3'" + (", or a square" if "SQUARE" in expected else ""), ("in",)
    for terminal, said in (("NUMBER", "a number"), ("SQUARE", "a square such as C0")):
        if terminal in expected:
            return said, ()
    signs = [said for terminal, said in _SIGNS.items() if terminal in expected]
    return " or ".join(filter(None, (", ".join(signs), "the end"))), ("and", "or", "via")


def _open(text: str) -> int:
    """The place of the innermost bracket that is never closed."""
    opened = []
    for i, sign in enumerate(text):
        if sign == "(":
            opened.append(i)
        elif sign == ")" and opened:
            opened.pop()
    return opened[-1] if opened else 0
