"""What a live page is asked for, as its address has it: the whole state lies in the query."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from circuits.errors import InputError
from circuits.notation import Notation

#: what an address may have; ``units`` is ``without`` by another name
FIELDS = ("moves", "without", "units", "unit", "move", "point", "notation", "list")


@dataclass(frozen=True)
class Asked:
    """A position, units set to their means, and what is shown of them.

    Attributes:
        moves: the transcript as typed; notation: how.
        units: names as typed, in order, none twice but where one field names it twice.
        move: the move whose units are listed, "" for the likeliest; point: of the probe shown, "" for the checkpoint.
        listed: whether the units are listed at once, which takes as long as an explanation.
    """

    moves: str = ""
    units: tuple[str, ...] = ()
    move: str = ""
    point: str = ""
    notation: str = "ours"
    listed: bool = False

    @staticmethod
    def of(query: Iterable[tuple[str, str]]) -> "Asked":
        """From the pairs of a query; units are named in ``without`` (a text) and by each ``unit`` (a ticked box).

        Raises:
            InputError: a name that means nothing, or one but ``unit`` that stands twice.
        """
        single: dict[str, str] = {}
        ticked = []
        for name, value in query:
            if name not in FIELDS:
                raise InputError(f"{name[:40]!r} in the address means nothing here: it may have {', '.join(FIELDS)}")
            if name in single and name != "unit":
                raise InputError(f"{name} stands twice in the address: say it once")
            if name == "unit":
                ticked += names(value)
            else:
                single[name] = value.strip()
        typed = names(single.get("without", single.get("units", "")))
        known = {name.upper() for name in typed}
        units = [*typed, *(name for name in dict.fromkeys(ticked) if name.upper() not in known)]
        return Asked(
            single.get("moves", ""), tuple(units), single.get("move", ""), single.get("point", ""),
            single.get("notation") or "ours", bool(single.get("list")),
        )  # fmt: skip

    @property
    def written(self) -> Notation:
        """The notation.

        Raises:
            InputError: another one than ours or standard.
        """
        if self.notation not in ("ours", "standard"):
            raise InputError(f"notation {self.notation!r}: it is ours or standard")
        return "standard" if self.notation == "standard" else "ours"

    def url(self, path: str = "/", **changes) -> str:
        """The address of this, or of this with other fields; what is default is left out."""
        return address(path, replace(self, **changes))


def names(text: str) -> list[str]:
    """The names in a text, apart by commas or spaces."""
    return [name for name in re.split(r"[\s,;]+", text) if name]


def address(path: str, asked: Asked) -> str:
    """A path with its query."""
    fields: Mapping[str, str] = {
        "moves": asked.moves, "without": " ".join(asked.units), "move": asked.move, "point": asked.point,
        "notation": asked.notation if asked.notation != "ours" else "", "list": "1" if asked.listed else "",
    }  # fmt: skip
    query = urlencode({name: value for name, value in fields.items() if value})
    return f"{path}?{query}" if query else path
