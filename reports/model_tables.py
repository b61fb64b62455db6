"""The tables of a model's page: layers beside published figures, rules in the place of neurons, the best neurons."""

from circuits.census import published
from circuits.census.replaced import KINDS, WHOLE, Replaced
from circuits.induction.records import NeuronRule
from reports import verdict_words as w
from reports.model_charts import bins, comparable
from reports.model_records import ModelRecord
from reports.text import count, fixed, number, percent
from reports.verdict_tables import NOTHING, Cells, Table

CELLS = Cells()


def whole(n: int | None, path: str) -> dict[str, str] | str:
    """A count as a cell."""
    return NOTHING if n is None else {"path": path, "exact": str(n), "value": count(n), "interval": ""}


#: share of the published model's neurons with a tree above the threshold
PUBLISHED_TREES = sum(published.TREE_EXPLAINED) / published.NEURONS / len(published.TREE_EXPLAINED)


def layers(r: ModelRecord) -> Table:
    """The status of every neuron, layer by layer, and trees beside the published ones."""
    beside = comparable(r)
    head = ("layer", "neurons", "explained", "in part", "by the ply", "by nothing", "dead", "tree > 0.7",
            "depth 4", "as published", *(("published",) if beside else ()))  # fmt: skip
    names = ("neurons", "explained", "partly", "clock", "unexplained", "dead", "tree", "tree_4", "tree_published")
    rows = []
    for i, x in enumerate(r.layers):
        cells = [whole(getattr(x, name), f"layers.{i}.{name}") for name in names]
        theirs = (percent(published.TREE_EXPLAINED[x.layer] / published.NEURONS),) if beside else ()
        rows.append((f"L{x.layer}", *cells, *theirs))
    every = [_sum(r, name) for name in names]
    n = every[0]
    rows.append(
        ("all", *(NOTHING if v is None else count(v) for v in every), *((percent(PUBLISHED_TREES),) if beside else ()))
    )
    shares = ("share", "", *(NOTHING if v is None else percent(v / n) for v in every[1:]))
    rows.append((*shares, *((percent(PUBLISHED_TREES),) if beside else ())))
    return Table(head, rows)


def _sum(r: ModelRecord, name: str) -> int | None:
    values = [getattr(x, name) for x in r.layers]
    return None if None in values else sum(values)


def explained(r: ModelRecord) -> Table:
    """What the rules of explained neurons are like."""
    head = ("layer", "explained", "variance", "literals", "from trees", "several terms", "not told apart", "agreement",
            "same rule", "on shuffled")  # fmt: skip
    rows = []
    for i, x in enumerate(r.layers):
        n = {name: whole(getattr(x, name), f"layers.{i}.{name}") for name in COUNTED}
        means = (
            CELLS.one(getattr(x, name), f"layers.{i}.{name}", write)
            for name, write in (("variance_explained", percent), ("literals", _tenths))
        )
        again = (
            CELLS.one(getattr(x, name), f"layers.{i}.{name}", write)
            for name, write in (("agreement", fixed), ("same", percent))
        )
        shuffled = f"{count(x.shuffled)} of {count(x.shuffled_of)}" if x.shuffled_of else NOTHING
        rows.append(
            (f"L{x.layer}", n["explained"], *means, n["from_trees"], n["several_terms"], n["not_told_apart"], *again,
             shuffled)
        )  # fmt: skip
    return Table(head, rows)


COUNTED = ("explained", "from_trees", "several_terms", "not_told_apart")


def _tenths(value: float) -> str:
    return fixed(value, 1)


def unexplained(r: ModelRecord) -> Table:
    """What stays without a rule."""
    head = ("layer", "not explained", "by a tree only", "in part", "by the ply", "by nothing above 10 %")
    rows = []
    for i, x in enumerate(r.layers):
        cells = (whole(getattr(x, name), f"layers.{i}.{name}") for name in ("tree_only", "partly", "clock", "nothing"))
        rows.append((f"L{x.layer}", count(x.neurons - x.explained - x.dead), *cells))
    return Table(head, rows)


def histogram(r: ModelRecord) -> Table:
    rows = [(f"L{x.layer}", *map(count, x.histogram)) for x in r.layers]
    return Table(("layer", *bins()), rows)


def neurons(r: ModelRecord, layer: int) -> Table:
    """The best neurons of a layer, with paths into the record."""
    head = ("neuron", "rule", "variance explained", "F1", "precision", "recall", "holds at", "tree", "agreement",
            "also possible")  # fmt: skip
    rows = []
    for i, row in enumerate(r.best):
        if row.unit.startswith(f"L{layer}N"):
            rows.append(_neuron(row, f"best.{i}"))
    return Table(head, rows)


def _neuron(row: NeuronRule, path: str) -> tuple:
    s = row.rule
    variance = CELLS.estimate(s.variance_explained, f"{path}.rule.variance_explained", w.signed_percent)
    return (
        row.unit, s.rule, variance, fixed(s.f1), fixed(s.precision), fixed(s.recall), percent(s.base_rate),
        fixed(row.tree), NOTHING if row.agreement is None else fixed(row.agreement),
        NOTHING if row.told_apart else count(len(row.alternatives)),
    )  # fmt: skip


def replaced(r: ModelRecord, found: Replaced) -> Table:
    """The runs of a model with predictions in its neurons' place, a layer and a kind of prediction a row."""
    beside = comparable(r)
    head = [
        "layer",
        "by",
        "neurons",
        "rest at means",
        "random",
        "rest kept",
        "same at means",
        "whole at means",
        "top-N",
    ]
    if beside:
        head[4:4], head[9:9] = ["published"], ["published"]
        head.append("published")
    numbers = {(run.layer, run.by, run.kind): i for i, run in enumerate(found.runs)}
    rows = []
    for layer in [*(x.layer for x in r.layers), None]:
        for by in ("rules", "trees"):
            if (layer, by, KINDS[1]) not in numbers:
                continue
            i = numbers[layer, by, KINDS[1]]
            run = found.runs[i]

            def kl(by: str, kind: str, layer: int | None = layer):
                j = numbers.get((layer, by, kind))
                return NOTHING if j is None else CELLS.one(found.runs[j].kl.value, f"replaced.runs.{j}.kl.value", _kl)

            row = [
                "all" if layer is None else f"L{layer}", by, count(run.neurons),
                CELLS.estimate(run.kl, f"replaced.runs.{i}.kl"), kl(by, KINDS[4]), kl(by, KINDS[0]), kl(by, KINDS[2]),
                kl("means", WHOLE[0]), CELLS.estimate(run.top_n, f"replaced.runs.{i}.top_n", lambda v: fixed(v, 4)),
            ]  # fmt: skip
            if beside:
                known, tree = layer is not None, by == "trees" and layer is not None
                row[4:4] = [_kl(published.REPLACED_KL[layer]) if tree else NOTHING]
                row[9:9] = [_kl(published.MEAN_KL[layer]) if known else NOTHING]
                row.append(fixed(published.REPLACED_TOP_N[layer], 4) if tree else NOTHING)
            rows.append(tuple(row))
    return Table(tuple(head), rows)


def _kl(value: float) -> str:
    return number(value, 3)
