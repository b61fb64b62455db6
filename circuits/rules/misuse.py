"""What to say of Python that makes no rule: what was given and what to write instead, in one line.

``sq.C0`` and ``ply`` are not facts yet, and claims and effects are more or less than a rule; whoever combines them with
rules is told so, instead of being shown the inside of this package.
"""

from circuits.errors import InputError

_SAMPLE = "sq.C0.empty & sq.D1.theirs, or the text 'C0 empty & D1 theirs'"


def shorten(text: object) -> str:
    """At most 24 characters of a text, none of which breaks the line."""
    text = str(text)
    return repr(text if len(text) <= 24 else text[:23] + "…")[1:-1]


class NoRule:
    """What stands beside rules without being one; ``instead`` says what to write."""

    instead: str

    def _refuse(self, *_):
        raise TypeError(self.instead)

    __and__ = __rand__ = __or__ = __ror__ = __rshift__ = __rrshift__ = __invert__ = __matmul__ = __bool__ = _refuse


def no_rule(given: object) -> str:
    """Why something that is not a rule is none."""
    if isinstance(given, NoRule):
        return given.instead
    if isinstance(given, str):
        return f"'{shorten(given)}' is text: circuits.rules.text.parse_rule makes a rule of it"
    if isinstance(given, bool):
        return f"{given} is no rule: == tells whether two rules are the same one; join rules by & or |"
    if isinstance(given, int | float):
        return f"{shorten(given)} is no rule: put comparisons in brackets, (ply >= 10) & sq.C0.empty"
    return f"{shorten(given)} is no rule: write {_SAMPLE}"


def whole(given: object, of: str) -> int:
    """``given``, which is to be an int.

    Raises:
        InputError: it is none; neither 3.0 nor True is.
    """
    if not isinstance(given, int) or isinstance(given, bool):
        raise InputError(f"{of} {shorten(repr(given))}: give a whole number, as in 3")
    return given
