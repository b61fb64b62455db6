"""The numbers of a verdict as heads and rows of tables.

A cell is a text, or a figure with its interval and its path in the record, by which a page can be compared with it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from circuits.verdicts.records import Estimate, Fit, Rival, Verdict, Write
from reports.charts import point_name
from reports.text import count, exact, fixed, number, percent
from reports.verdicts import words as w
from reports.verdicts.inputs import names, why_not
from reports.verdicts.writes import kind

NOTHING = "–"
#: rivals of one kind in the table that is open, and of all kinds in the one that folds
PER_KIND, ALL = 3, 20
BRIEF = 2  # of a kind on the page of a unit


@dataclass(frozen=True)
class Table:
    """What the template draws."""

    head: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    def __bool__(self) -> bool:
        return bool(self.rows)


@dataclass(frozen=True)
class Cells:
    """Makes cells; ``prefix`` is the verdict's own place in the record that a page shows."""

    prefix: str = ""

    def one(self, value: float | None, path: str, write: Callable[[float], str]) -> dict[str, str] | str:
        """A figure without an interval."""
        if value is None:
            return NOTHING
        return {"path": self.prefix + path, "exact": exact(value), "value": write(value), "interval": ""}

    def estimate(
        self, e: Estimate | None, path: str, write: Callable[[float], str] | None = None, sign: bool = False
    ) -> dict[str, str] | str:
        """A figure and its interval, with as many decimals as they have use for where ``write`` does not say."""
        if e is None:
            return NOTHING
        write = write or w.digits(e, sign)
        return self.one(e.value, f"{path}.value", write) | {"interval": w.interval(e, write)}


def scores(f: Fit, cells: Cells) -> Table:
    """Every score beside what it would be by chance."""
    base, ply = percent(f.base_rate), w.signed_percent(f.ply_variance_explained)
    shuffled = w.signed_percent(f.shuffled_variance_explained)
    rows = [
        ("precision", "precision", percent, f"base rate {base}"),
        ("recall", "recall", percent, NOTHING),
        ("F1", "f1", fixed, f"always on {f.chance_f1:.2f}"),
        ("AUC", "auc", fixed, "coin 0.50"),
        ("variance explained", "variance_explained", w.signed_percent, f"ply {ply}, dealt to other games {shuffled}"),
        ("rule holds in the top 1 %", "top_coverage", percent, f"base rate {percent(f.chance_top)}"),
    ]
    made = [(name, cells.estimate(getattr(f, x), f"fit.{x}", write), beside) for name, x, write, beside in rows]
    return Table(("score", "held out", "by chance"), made)


def quantiles(f: Fit) -> Table:
    rows = [
        (f"{number(100 * q)} %", number(a, 4), number(b, 4))
        for q, a, b in zip(f.quantiles, f.when_holds, f.when_fails, strict=True)
    ]
    return Table(("quantile", "rule holds", "rule fails"), rows)


def rule(text: str) -> dict[str, str] | str:
    """A rule in a cell: a long one by its beginning, in full as the cell's title."""
    return text if len(text) <= w.LONG else {"short": w.short(text), "full": text}


RIVALS = ("rule", "difference, points", "p", "variance", "what it is", "holds at", "F1")


def best_rivals(v: Verdict, cells: Cells, per_kind: int = PER_KIND) -> Table:
    """The best of each kind."""
    found = v.rivals.rivals
    chosen = [
        i
        for kind in dict.fromkeys((*w.KINDS, *(x.kind for x in found)))
        for i in _by_variance(found, [i for i, x in enumerate(found) if x.kind == kind])[:per_kind]
    ]
    return Table(RIVALS, [_rival(found[i], f"rivals.rivals.{i}", cells) for i in chosen])


def all_rivals(v: Verdict) -> Table:
    """All, the best first, in texts; the rest is in the record only."""
    found = v.rivals.rivals
    rows = [
        (rule(x.rule), w.with_interval(x.better, _points), _p(x.p_family), w.signed_percent(x.variance_explained),
         w.kind_words(x), percent(x.base_rate), f"{x.f1:.2f}")
        for x in (found[i] for i in _by_variance(found, range(len(found)))[:ALL])
    ]  # fmt: skip
    return Table(RIVALS, rows)


def _by_variance(found: Sequence[Rival], which: Sequence[int]) -> list[int]:
    return sorted(which, key=lambda i: -found[i].variance_explained)


def _rival(x: Rival, path: str, cells: Cells) -> tuple[Any, ...]:
    what = w.kind_words(x) + (f" ({x.note})" if x.note else "")
    better = cells.estimate(x.better, f"{path}.better", _points)
    variance = cells.one(x.variance_explained, f"{path}.variance_explained", w.signed_percent)
    return rule(x.rule), better, _p(x.p_family), variance, what, percent(x.base_rate), f"{x.f1:.2f}"


def worth(v: Verdict, cells: Cells) -> Table:
    """Does each literal earn its place?"""
    rows = [
        (
            x.literal, cells.estimate(x.loss, f"rivals.literals.{i}.loss", _points), _p(x.p_family),
            "yes" if x.earns else "no", cells.one(x.neighbour_gain, f"rivals.literals.{i}.neighbour_gain", _points),
            rule(x.best_neighbour or NOTHING),
        )
        for i, x in enumerate(v.rivals.literals)
    ]  # fmt: skip
    return Table(("literal", "loss, points", "p", "earns its place", "gain, points", "by the best replacement"), rows)


def toggles(v: Verdict, cells: Cells) -> Table:
    """Counterfactual games, a literal a row, and the control; screened where a better rule is known."""
    i = v.inputs
    beside = ("share, screened", "pairs, screened") if i.better else ()
    head = ("literal", "share", "p", *beside, "change", "becomes", "pairs", "games", "squares")
    named = names(i)
    found = [(f"inputs.toggles.{k}", t, named[t.literal], t.becomes) for k, t in enumerate(i.toggles)]
    if i.control is not None:
        found.append(("inputs.control", i.control, "none", "unchanged"))
    rows = []
    for path, t, name, becomes in found:
        of = count(t.pairs), count(t.games)
        if t.share is None and t.change is None and (t.reason or not t.possible):
            rows.append((name, *[NOTHING] * (3 + len(beside)), why_not(t), *of, NOTHING))
            continue
        squares = NOTHING if t.squares is None else number(t.squares, 2)
        share = cells.estimate(t.share, f"{path}.share", w.whole_percent)
        change = cells.estimate(t.change, f"{path}.change", sign=True)
        kept = (cells.estimate(t.screened, f"{path}.screened", w.whole_percent),
                NOTHING if t is i.control else count(t.screened_pairs))[: len(beside)]  # fmt: skip
        rows.append((name, share, _p(t.p_family), *kept, change, becomes, *of, squares))
    return Table(head, rows)


def edits(v: Verdict, cells: Cells) -> Table:
    """Edits of the checkpoint."""
    head = ("literal", "share", "p", "random", "elsewhere", "edit", "where", "change", "positions", "games")
    rows, named = [], names(v.inputs)
    for i, e in enumerate(v.inputs.edits):
        path, name, of = f"inputs.edits.{i}", named.get(e.literal, e.literal), (count(e.positions), count(e.games))
        if e.share is None and e.reason:
            rows.append((name, *[NOTHING] * 4, e.reason, e.where, NOTHING, *of))
            continue
        share, random, elsewhere = (
            cells.estimate(getattr(e, n), f"{path}.{n}", w.whole_percent) for n in ("share", "random", "elsewhere")
        )
        change, done = cells.estimate(e.change, f"{path}.change", sign=True), e.edit.replace("->", "→")
        rows.append((name, share, _p(e.p_family), random, elsewhere, done, e.where, change, *of))
    return Table(head, rows)


def senders(v: Verdict, cells: Cells, links: Mapping[str, str]) -> Table:
    """Upstream units that carry a literal."""
    rows, named = [], names(v.inputs)
    for i, s in enumerate(v.inputs.senders):
        path = f"inputs.senders.{i}"
        unit = {"unit": s.unit, "link": links.get(s.unit)}
        fact = NOTHING if not s.fact else s.fact + (f" (F1 {s.fact_f1:.2f})" if s.fact_f1 is not None else "")
        found = cells.estimate(s.found, f"{path}.found", w.whole_percent)
        verified = cells.estimate(s.verified, f"{path}.verified", w.whole_percent)
        rows.append((unit, named.get(s.literal, s.literal), verified, _p(s.p_family), found, s.direction, fact))
    return Table(("unit", "of literal", "verified", "p", "found", "it", "its own best fact"), rows)


def writes(v: Verdict, cells: Cells) -> Table:
    """Each claimed effect, a column each, by ablation, direct attribution and weights."""
    found = list(enumerate(v.outputs.writes))
    tried = [(i, x) for i, x in found if x.total is not None or not x.reason]

    def estimates(name: str) -> dict[int, Any]:
        return {i: cells.estimate(getattr(x, name), f"outputs.writes.{i}.{name}", sign=True) for i, x in tried}

    rows = {
        "measured in": {i: x.unit_of if (i, x) in tried else x.reason for i, x in found},
        "lost where the rule holds": estimates("total"),
        "p": {i: _p(x.p) for i, x in tried},
        "with controls": {i: span(x.random) for i, x in tried},
        "lost where it fails": estimates("total_fails"),
        "holds less fails": estimates("difference"),
        "rank by size": {i: _rank(x.rank, x.of, x) for i, x in tried},
        "mean size of others": estimates("others"),
        "direct": estimates("direct"),
        "weight": {i: cells.one(x.weight, f"outputs.writes.{i}.weight", _signed) for i, x in tried},
        "rank of the weight": {i: _rank(x.weight_rank, x.weight_of, x) for i, x in tried},
    }
    made = [(name, *(row.get(i, NOTHING) for i, _ in found)) for name, row in rows.items()]
    return Table(("effect", *(x.effect for _, x in found)), made if found else [])


def _rank(rank: int | None, of: int | None, x: Write) -> str:
    return NOTHING if rank is None else count(rank) + (f" of {count(of)} {kind(x)}" if of else "")


def by_point(v: Verdict) -> Table:
    """Of effects on the checkpoint, the loss at every later point of the stream."""
    rows = [
        (x.effect, point_name(point), number(loss, 3, sign=True))
        for x in v.outputs.writes
        for point, loss in x.by_point.items()
    ]
    return Table(("effect", "read after", "lost where it holds"), rows)


def replaced(v: Verdict, cells: Cells) -> Table:
    """The unit replaced in whole runs."""
    rows = [
        (f"{x.by}, {x.where}", cells.estimate(x.kl, f"outputs.replacements.{i}.kl"),
         cells.estimate(x.error, f"outputs.replacements.{i}.error", sign=True))
        for i, x in enumerate(v.outputs.replacements)
    ]  # fmt: skip
    return Table(("replaced by", "KL, nats", "error, moves"), rows)


def colours(v: Verdict, cells: Cells) -> Table:
    """The forms of a rule on colours."""
    head = ("form", "variance", "rule", "holds at", "F1", "AUC", "black to move", "white to move")
    rows = []
    for i, x in enumerate(v.colours.forms):
        path = f"colours.forms.{i}"
        ends = (cells.one(getattr(x, n), f"{path}.{n}", _signed) for n in ("black_to_move", "white_to_move"))
        scores = (cells.one(getattr(x, n), f"{path}.{n}", fixed) for n in ("f1", "auc"))
        variance = cells.estimate(x.variance_explained, f"{path}.variance_explained", w.signed_percent)
        rows.append((x.form, variance, rule(x.rule), count(x.positives), *scores, *ends))
    return Table(head, rows)


def checks(v: Verdict) -> list[dict[str, Any]]:
    """The checks by group, in the order of the grades."""
    groups = []
    for name in dict.fromkeys((*w.GROUPS, *(c.group for c in v.checks))):
        found = [c for c in v.checks if c.group == name]
        if not found:
            continue
        title, means = w.GROUPS.get(name, (name.capitalize(), ""))
        marks = {True: ("passed", "yes"), False: ("failed", "no"), None: ("not asked", "none")}
        rows = [
            {"name": c.name, "figure": w.tidy(c.figure), "threshold": c.threshold, "said": marks[c.passed][0],
             "mark": marks[c.passed][1]}
            for c in found
        ]  # fmt: skip
        groups.append({"title": title, "means": means, "rows": rows})
    return groups


def span(values: Sequence[float]) -> str:
    """From the lowest to the highest of some, both with decimals for the larger; what vanishes beside it is 0."""
    if not values:
        return NOTHING
    ends = min(values), max(values)
    write = w.digits(Estimate(max(map(abs, ends))))
    low, high = (fixed(end, 0) if float(f"{end:.6f}") == 0 else write(end) for end in ends)
    return f"{low} … {high}"


def _points(value: float) -> str:
    return fixed(100 * value, 1, sign=True)


def _signed(value: float) -> str:
    return number(value, 3, sign=True)


def _p(p: float | None) -> str:
    return NOTHING if p is None else w.p_value(p)
