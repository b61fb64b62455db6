"""Figures of a verdict in words: the same on the terminal, in checks and in sentences."""

from circuits.verdicts.records import Estimate


def said(e: Estimate) -> str:
    """``0.93 [0.91, 0.94]``."""
    return _plain(e.value) + ("" if e.low is None else f" [{_plain(e.low)}, {_plain(e.high)}]")


def share(e: Estimate) -> str:
    """``93 % [91, 94]``."""
    return percent(e.value) + ("" if e.low is None else f" [{percent(e.low)[:-2]}, {percent(e.high)[:-2]}]")


def points(e: Estimate) -> str:
    """``3.1 points [2.0, 4.2]``, of percent."""
    ends = "" if e.low is None else f" [{percent(e.low, 1)[:-2]}, {percent(e.high, 1)[:-2]}]"
    return f"{percent(e.value, 1)[:-2]} points{ends}"


def percent(value: float, digits: int = 0) -> str:
    """``78 %``, without a sign before a rounded zero."""
    return f"{round(100 * value, digits) + 0:.{digits}f} %".replace("-", "\u2212")


def _plain(value: float) -> str:
    return f"{round(value, 2) + 0:.2f}".replace("-", "\u2212")
