"""A unit's page: one file of HTML, readable without scripts, drawn from the tables alone."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from circuits.atlas.unit_sheet import UnitSheet
from circuits.induction.records import STATUSES
from reports import boards
from reports.atlas_site import panels, unit_words
from reports.atlas_site.alike import Near
from reports.atlas_site.positions import Position
from reports.atlas_site.sheets import Sheets
from reports.text import count, fixed, number, percent, unbroken

#: nothing from anywhere but the site itself; Safari takes ``file:`` for no part of 'self'
POLICY = (
    "default-src 'none'; style-src 'self' file:; script-src 'self' file:; base-uri 'none'; form-action 'self' file:"
)
#: of the rules that the games do not tell from a neuron's own
ALTERNATIVES = 5
MAPS = {
    "identity": "as it is", "half-turn": "its image under the half-turn", "main diagonal":
    "its image across the main diagonal", "anti-diagonal": "its image across the anti-diagonal",
}  # fmt: skip
_KIN = {"twin": "does the same in its layer", "partner_half_turn": "does the same on the half-turned game",
        "partner_main_diagonal": "does the same on the game across the main diagonal",
        "partner_anti_diagonal": "does the same on the game across the anti-diagonal"}  # fmt: skip


@cache
def environment() -> Environment:
    """The templates, with autoescape on."""
    env = Environment(
        loader=PackageLoader("reports.atlas_site"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    env.filters.update(
        fixed=fixed, percent=percent, count=count, number=number, unbroken=unbroken, small=unit_words.small
    )
    env.globals.update(definitions=boards.DEFINITIONS, symbol=boards.symbol, policy=POLICY, statuses=STATUSES)
    return env


class UnitPages:
    """Makes the pages of an atlas's units.

    Args:
        sheets: the atlas's tables.
        atlas_name: how the Python lines open it.
    """

    def __init__(self, sheets: Sheets, atlas_name: str):
        self.sheets, self.atlas_name, self.typical = sheets, atlas_name, unit_words.Typical(sheets)
        self._template = environment().get_template("unit.html")

    def page(
        self, i: int, sheet: UnitSheet, numbers: Sequence[panels.Column], near: Sequence[Near],
        examples: Sequence[Position],
    ) -> str:  # fmt: skip
        """The page of unit ``i`` in the order of the table ``units``."""
        sheets, rule = self.sheets, self.sheets.rule(i)
        figures, words = sheet.figures, sheet.words
        names = sheets.names
        return self._template.render(
            s=sheet, f=figures, w=words, rule=rule, layer=int(figures["layer"]), root="../", title=sheet.unit,
            status=words.get("rule_status") or words.get("head_kind"),
            headline=unit_words.headline(sheet, rule), tiles=unit_words.tiles(sheet, rule, self.typical),
            before=names[i - 1] if i else None, after=names[i + 1] if i + 1 < len(names) else None,
            numbers=numbers, rows=panels.table(numbers) if numbers else "",
            groups=panels.groups(sheet, numbers), needed=panels.needed(sheet), facts=panels.facts(sheet),
            attention=panels.attention(sheet),
            examples=[(p, boards.position_board(p.example)) for p in examples],
            edges=_edges(sheet), kin=[(words[k], said) for k, said in _KIN.items() if k in words],
            alternatives=(rule["alternatives"] or [])[:ALTERNATIVES] if rule else (),
            near=[(MAPS[n.map], n) for n in near], links=sheets.row, atlas=self.about(),
        )  # fmt: skip

    def about(self) -> dict[str, Any]:
        """What every page says of the atlas."""
        return about(self.sheets, self.atlas_name)


def about(sheets: Sheets, atlas_name: str) -> dict[str, Any]:
    """What every page says of the atlas, and how a Python line opens it."""
    atlas = sheets.atlas
    p = atlas.provenance
    return {
        "model": atlas.model_name, "hash": atlas.model_hash or "unknown", "key": atlas.key, "name": atlas_name,
        "games": p.get("games_source", "unknown games"), "fingerprint": p.get("fingerprint", ""),
        "measured": atlas.measured, "probes": p.get("probes", "none"), "chance": atlas.chance_cosine,
        "has_rules": "rules" in atlas.rows, "layers": atlas.layers,
    }  # fmt: skip


def _edges(sheet: UnitSheet) -> list[dict[str, Any]]:
    """Edges in lists by what they do, the strongest first."""
    return [
        {"word": word, "edges": own[:SHOWN_EDGES], "more": len(own) - len(own[:SHOWN_EDGES])}
        for word, own in sheet.linked()
    ]


SHOWN_EDGES = 8
