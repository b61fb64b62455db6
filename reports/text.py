"""How numbers are written on pages: one place for signs, digits and percentages."""

import re

MINUS = "−"


def number(value: float, digits: int = 3, sign: bool = False) -> str:
    """``digits`` significant digits, a true minus sign, no exponent for ordinary sizes: "−0.378"."""
    if value == 0:
        return "0"
    text = f"{abs(value):.{digits}g}"
    if "e" in text and 1e-6 < abs(value) < 1e7:
        decimals = digits - 1 - int(text.split("e")[1])
        text = f"{abs(value):,.{max(0, decimals)}f}"
    return (MINUS if value < 0 else "+" if sign else "") + text


def fixed(value: float, places: int = 2, sign: bool = False) -> str:
    """A fixed number of decimals: "+0.38"; what rounds to zero has no sign."""
    text = f"{abs(value):.{places}f}"
    if float(text) == 0:
        return text
    return (MINUS if value < 0 else "+" if sign else "") + text


def percent(share: float, places: int | None = None) -> str:
    """A share as a percentage: "12 %", "0.4 %", "< 0.1 %"."""
    hundredths = 100 * share
    if places is None:
        if 0 < hundredths < 0.1:
            return "< 0.1 %"
        places = 0 if hundredths == 0 or hundredths >= 10 else 1
    return f"{fixed(hundredths, places)} %"


def count(n: int) -> str:
    """Thousands apart: "12,345"."""
    return f"{n:,}"


def exact(value: float) -> str:
    """Four significant digits for machine-readable attributes: "-0.3781"."""
    return f"{value:.4g}"


def unbroken(text: str) -> str:
    """The text with no line break inside a number with its unit or inside an interval."""
    text = re.sub(r"(?<=\d) (?=%)|(?<=<) (?=\d)", "\u00a0", text)
    text = re.sub(r"\[[^\]]*\]", lambda found: found[0].replace(" ", "\u00a0"), text)
    return re.sub(r"(?<=\d)–(?=\d)", "\u2060–\u2060", text)
