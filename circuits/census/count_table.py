"""The counts of a model as a table: a count by layer and in all, beside the published one where there is one.

The published model has 2048 neurons a layer (`circuits.census.published`); its counts stand beside ours layer by layer,
and say what is possible, not what to expect.
"""

from dataclasses import dataclass

from circuits.census import published
from circuits.census.counts import ModelCounts
from circuits.census.patterns_covered import PLAYABLE_PATTERNS, PUBLISHED_PATTERNS, PatternCensus
from circuits.serial import Record

#: thresholds at which pattern neurons, and the patterns that they cover, were published
_PUBLISHED_AT, _COVERED_AT = 0.95, 0.9


@dataclass(frozen=True)
class Row(Record):
    """One count by layer, and the published one, of `published.NEURONS` neurons a layer; None: there is none."""

    name: str
    ours: tuple[float | None, ...]
    total: float | None
    published: tuple[int, ...] | None
    note: str


_LABELS = {
    "explained": "explained by their rule",
    "partly": "partly explained",
    "clock": "clock neurons",
    "unexplained": "unexplained",
    "dead": "dead",
    "tree": "tree R² > 0.7",
    "tree_published": "tree R² > 0.7, grown as published",
    "patterns_covered": "patterns covered by explained rules",
    "patterns_implied": "patterns implied by explained rules",
    "patterns_exactly": "patterns that are explained rules",
    "played": "just-played neurons",
    "played_in_rule": "rules that name a square just played",
    "follows_move": "neurons that follow the last move",
    "flipped": "flip neurons",
    "flipped_in_rule": "rules that name a flipped square",
    "board_writers": "neurons that write the board",
    "move_writers": "neurons that write moves directly",
    "any_partner": "neurons with a partner under one map",
    "all_partners": "neurons with a partner under all three",
    "own_image": "neurons that are their own image",
    "twins": "neurons with a twin in the layer",
    "shared": "neurons whose rule another of the layer carries",
    "shared_turned": "neurons whose rule another carries, or its image",
    "several_groups": "rules of several unrelated terms",
    "further": "neurons with a further unrelated rule",
    "literals": "literals a rule, mean",
    "terms": "terms a rule, mean",
}


def rows(counted: ModelCounts) -> tuple[Row, ...]:
    """The table of counts; totals over layers, of patterns those covered by any layer, none of means."""
    patterns = ("patterns_covered", "patterns_implied", "patterns_exactly")
    totals = {field: getattr(counted, field) for field in patterns}
    totals |= {"literals": None, "terms": None, "shared": counted.shared, "shared_turned": counted.shared_turned}
    notes = {"shared": "total: of any layer", "shared_turned": "total: of any layer"}
    notes |= dict.fromkeys(patterns, f"of {PLAYABLE_PATTERNS}; total: by any layer")
    table = []
    for field, label in _LABELS.items():
        ours = tuple(getattr(layer, field) for layer in counted.layers)
        total = totals.get(field, None if None in ours else sum(ours))
        beside = published.TREE_EXPLAINED if field == "tree_published" else None
        table.append(Row(label, ours, total, beside, notes.get(field, "")))
    for at in counted.patterns:
        table += _pattern_rows(at)
    return tuple(table)


def _pattern_rows(at: PatternCensus) -> list[Row]:
    """Pattern neurons at one threshold, and the patterns that they cover, by the released rule and the strict one."""
    last = len(at.layers) - 2
    late = f"L{len(at.layers) // 2}-L{last}: {at.covered_late}"
    if at.threshold == _COVERED_AT and len(at.layers) == len(published.PATTERN_NEURONS):
        late += f"; published: {published.PATTERNS_COVERED} of the {PUBLISHED_PATTERNS} that it counts"
    found = []
    for kind, strict in (("", False), (", strict", True)):
        neurons = tuple(float(len(layer.strict if strict else layer.released)) for layer in at.layers)
        beside = published.PATTERN_NEURONS if at.threshold == _PUBLISHED_AT and not strict else None
        found.append(Row(f"pattern neurons at {at.threshold:g}{kind}", neurons, sum(neurons), beside, ""))
        patterns = tuple(float(layer.strict_covered if strict else layer.covered) for layer in at.layers)
        total = float(at.strict_covered if strict else at.covered)
        note = f"of {PLAYABLE_PATTERNS}; total: by any layer" + ("" if strict else f"; {late}")
        found.append(Row(f"patterns covered at {at.threshold:g}{kind}", patterns, total, None, note))
    return found


def text(counted: ModelCounts) -> str:
    """The table of counts in plain characters."""
    layers = [f"L{layer.layer}" for layer in counted.layers]
    lines = [["", *layers, "all", "published"]]
    for row in rows(counted):
        shown = ["–" if v is None else f"{v:.1f}" if v != int(v) else str(int(v)) for v in (*row.ours, row.total)]
        lines.append([row.name, *shown, " ".join(map(str, row.published)) if row.published else ""])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]

    def padded(line: list[str]) -> str:
        name, *numbers, beside = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        return "  ".join([name.strip().ljust(widths[0]), *numbers, beside.strip()]).rstrip()

    return "\n".join(map(padded, lines))
