"""The tables of a model's page: layers beside published figures, rules in the place of neurons, the best neurons."""

from statistics import fmean

from circuits.census import published
from circuits.census.replaced import KINDS, WHOLE, Replaced
from circuits.induction.records import NeuronRule
from reports.model import words as model_words
from reports.model.charts import bins, comparable
from reports.model.records import ModelRecord
from reports.text import count, fixed, number, percent
from reports.verdicts import words as w
from reports.verdicts.tables import NOTHING, Cells, Table

CELLS = Cells()


def whole(n: int | None, path: str) -> dict[str, str] | str:
    """A count as a cell."""
    return NOTHING if n is None else {"path": path, "exact": str(n), "value": count(n), "interval": ""}


def published_trees(r: ModelRecord) -> float:
    """Share of the published model's neurons with a tree above the threshold, in the layers that the page has."""
    return fmean(published.TREE_EXPLAINED[x.layer] / published.NEURONS for x in r.layers)


def layers(r: ModelRecord) -> Table:
    """The status of every neuron, layer by layer, and trees beside the published ones."""
    beside = comparable(r)
    head = ("layer", "neurons", "explained", "in part", "by the ply", "no rule above 10 % for sure", "dead",
            "tree > 0.7", "depth 4", "grown as published", *(("published model",) if beside else ()))  # fmt: skip
    names = ("neurons", "explained", "partly", "clock", "unexplained", "dead", "tree", "tree_4")
    rows = []
    for i, x in enumerate(r.layers):
        cells = [whole(getattr(x, name), f"layers.{i}.{name}") for name in names]
        theirs = (percent(published.TREE_EXPLAINED[x.layer] / published.NEURONS),) if beside else ()
        ours = whole(x.tree_published, f"layers.{i}.tree_published")
        if x.tree_published is not None:
            ours |= {"value": percent(x.tree_published / x.neurons)}  # as the published figure beside it
        rows.append((f"L{x.layer}", *cells, ours, *theirs))
    every = [sum(getattr(x, name) for x in r.layers) for name in names]
    n, grown = every[0], as_published(r)
    last = (NOTHING if grown is None else percent(grown), *((percent(published_trees(r)),) if beside else ()))
    rows.append((_together(r), *map(count, every), *last))
    rows.append(("share", "", *(percent(v / n) for v in every[1:]), *last))
    return Table(head, rows)


def as_published(r: ModelRecord) -> float | None:
    """Share of neurons with a tree above the threshold, grown as published; None where none was grown."""
    values = [x.tree_published for x in r.layers]
    return None if None in values else sum(values) / sum(x.neurons for x in r.layers)


def explained(r: ModelRecord) -> Table:
    """What the rules of explained neurons are like."""
    again = (("agreement", fixed), ("same", percent)) if r.table.resamples else ()
    head = ("layer", "explained", "variance", "literals", "from trees", "several terms", "not told apart",
            *(("agreement", "same rule") if again else ()), "on shuffled")  # fmt: skip
    rows = []
    for i, x in enumerate(r.layers):
        n = {name: whole(getattr(x, name), f"layers.{i}.{name}") for name in COUNTED}
        means = (
            CELLS.one(getattr(x, name), f"layers.{i}.{name}", write)
            for name, write in (("variance_explained", percent), ("literals", _tenths))
        )
        halves = (CELLS.one(getattr(x, name), f"layers.{i}.{name}", write) for name, write in again)
        shuffled = f"{count(x.shuffled)} of {count(x.shuffled_of)}" if x.shuffled_of else NOTHING
        rows.append(
            (f"L{x.layer}", n["explained"], *means, n["from_trees"], n["several_terms"], n["not_told_apart"], *halves,
             shuffled)
        )  # fmt: skip
    return Table(head, rows)


COUNTED = ("explained", "from_trees", "several_terms", "not_told_apart")


def _tenths(value: float) -> str:
    return fixed(value, 1)


def unexplained(r: ModelRecord) -> Table:
    """What stays without a rule."""
    head = (
        "layer",
        "not explained",
        "by a tree only",
        "in part",
        "by the ply",
        "by nothing, tree and ply included, above 10 %",
    )
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
    again = r.table.resamples > 0
    head = ("neuron", "rule", "variance explained", "by the ply alone", "F1", "precision", "recall", "holds at",
            "tree", *(("agreement",) if again else ()), "also possible")  # fmt: skip
    rows = []
    for i, row in enumerate(r.best):
        if row.unit.startswith(f"L{layer}N"):
            rows.append(_neuron(row, f"best.{i}", again))
    return Table(head, rows)


def _neuron(row: NeuronRule, path: str, again: bool) -> tuple:
    s = row.rule
    variance = CELLS.estimate(s.variance_explained, f"{path}.rule.variance_explained", w.signed_percent)
    return (
        row.unit, s.rule, variance, CELLS.one(row.ply, f"{path}.ply", w.signed_percent), fixed(s.f1),
        fixed(s.precision), fixed(s.recall), percent(s.base_rate), fixed(row.tree),
        *((NOTHING if row.agreement is None else fixed(row.agreement),) if again else ()),
        NOTHING if row.told_apart else count(len(row.alternatives)),
    )  # fmt: skip


def replaced(r: ModelRecord, found: Replaced) -> Table:
    """The runs of a model with predictions in its neurons' place, a layer and a kind of prediction a row.

    KL in nats; the first row is the model as it is.
    """
    beside = comparable(r)
    head = (
        "layer", "by", "neurons", "KL, rest at means", *(("published",) if beside else ()), "random", "rest kept",
        "same at means", "whole at means", *(("published",) if beside else ()), "top-N, rest at means",
        *(("published",) if beside else ()), "whole at means",
    )  # fmt: skip
    clean = CELLS.estimate(found.clean_top_n, "replaced.clean_top_n", model_words.top_n)
    theirs = (model_words.top_n(published.CLEAN_TOP_N),) if beside else ()
    unchanged = ("unchanged", *[NOTHING] * (9 if beside else 7), clean, *theirs, NOTHING)
    numbers = {(run.layer, run.by, run.kind): i for i, run in enumerate(found.runs)}
    rows = [unchanged]
    for layer in [*(x.layer for x in r.layers), None]:
        for by in ("rules", "trees"):
            if (layer, by, KINDS[1]) not in numbers:
                continue
            i = numbers[layer, by, KINDS[1]]
            run = found.runs[i]

            def kl(by: str, kind: str, layer: int | None = layer):
                j = numbers.get((layer, by, kind))
                return NOTHING if j is None else CELLS.one(found.runs[j].kl.value, f"replaced.runs.{j}.kl.value", _kl)

            j = numbers.get((layer, "means", WHOLE[0]))
            at_means = (
                NOTHING if j is None
                else CELLS.estimate(found.runs[j].top_n, f"replaced.runs.{j}.top_n", model_words.top_n)
            )  # fmt: skip
            row = [
                _together(r) if layer is None else f"L{layer}", by, count(run.neurons),
                CELLS.estimate(run.kl, f"replaced.runs.{i}.kl"), kl(by, KINDS[4]), kl(by, KINDS[0]), kl(by, KINDS[2]),
                kl("means", WHOLE[0]), CELLS.estimate(run.top_n, f"replaced.runs.{i}.top_n", model_words.top_n),
                at_means,
            ]  # fmt: skip
            if beside:
                known, tree = layer is not None, by == "trees" and layer is not None
                row[4:4] = [_kl(published.REPLACED_KL[layer]) if tree else NOTHING]
                row[9:9] = [_kl(published.MEAN_KL[layer]) if known else NOTHING]
                row[11:11] = [model_words.top_n(published.REPLACED_TOP_N[layer]) if tree else NOTHING]
            rows.append(tuple(row))
    return Table(head, rows)


def _together(r: ModelRecord) -> str:
    return "all" if model_words.whole(r) else f"{model_words.layer_names(r)} together"


def _kl(value: float) -> str:
    return number(value, 3)
