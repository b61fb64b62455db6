"""The page of a model: how many of its neurons follow a rule, layer by layer, and how much of it the rules explain.

Drawn from the record alone, as one offline file without scripts; `ModelReport.write` puts the JSON beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from circuits.census.replaced import KINDS, WHOLE, Replaced
from circuits.induction.records import TREE_EXPLAINED
from circuits.induction.run import Found
from circuits.othello_model import OthelloModel
from circuits.trial.records import HOSTED, SMALL, Trial
from reports.edits.figures import key_mark
from reports.model import census as model_census
from reports.model import charts as f
from reports.model import tables as t
from reports.model import trial as model_trial
from reports.model import words as w
from reports.model.build import model_record
from reports.model.records import ModelRecord
from reports.model.trial_summary import TrialSummary
from reports.neuron import environment
from reports.patching.page import write_pages
from reports.shown import Shown
from reports.text import number, percent
from reports.tiles import tile

#: files that the command writes beside the page
TABLES = ("rules.parquet", "rules.json")


@dataclass(frozen=True)
class ModelReport(Shown):
    """A record of a model's rules with its page: shows itself in Jupyter, writes itself into a folder."""

    record: ModelRecord

    @cached_property
    def html(self) -> str:
        return model_page(self.record)

    def write(self, folder: str | Path) -> Path:
        """Write model.html and model.json, each whole or not at all; neurons link to pages found there.

        Raises:
            InputError: the folder cannot be written.
        """
        folder = Path(folder)
        links = {row.unit: f"{row.unit}.html" for row in self.record.best if (folder / f"{row.unit}.html").is_file()}
        files = tuple(name for name in TABLES if (folder / name).is_file())
        page = model_page(self.record, links, (*files, "model.json"))
        return write_pages(folder, {"model.json": self.record.to_json(indent=1), "model.html": page})

    @property
    def title(self) -> str:
        return f"Rules in {self.record.origin.model_name}"

    def __repr__(self) -> str:
        return f"{self.title}: {w.headline(self.record)}"


def rules_report(
    model: OthelloModel, found: Found, trial: Trial | None = None, *, command: str = "", python: str = ""
) -> ModelReport:
    """What `circuits.induction.run.find_rules` found, as a report; with the results of a trial where there are any."""
    return ModelReport(
        model_record(model, found.table, found.replaced, found.counts, trial, command=command, python=python)
    )


def model_page(record: ModelRecord, links: Mapping[str, str] | None = None, files: tuple[str, ...] = ()) -> str:
    """The page as HTML.

    Args:
        links: pages of units, by name; files: beside the page, to link to.
    """
    return (
        environment()
        .get_template("model.html")
        .render(files=files, tables=[name for name in files if name in TABLES], **context(record, links or {}))
    )


def context(r: ModelRecord, links: Mapping[str, str]) -> dict[str, Any]:
    """What the template shows."""
    return {
        "r": r,
        "o": r.origin,
        "t": r.table,
        "style": f.STYLE,
        "headline": w.headline(r),
        "how": w.how(r),
        "tiles": tiles(r),
        "statuses": {
            "svg": f.statuses(r),
            "key": f.swatches(),
            "caption": w.statuses(),
        },
        "trees": lines(f.trees(r), "trees", "per cent of neurons", lambda v: number(v, 2)),
        "layers": {"table": t.layers(r), "caption": w.rows_caption(r)},
        "explained": {"table": t.explained(r), "lead": w.literals(r), "caption": w.explained_caption(r)},
        "histogram": {"svg": f.histogram(r), "table": t.histogram(r)},
        "unexplained": {"table": t.unexplained(r), "lead": w.unexplained(r)},
        "replaced": replaced(r),
        "census": model_census.context(r.counts) if r.counts else None,
        "trial": model_trial.context(r.trial) if r.trial else None,
        "neurons": [
            {"layer": x.layer, "table": t.neurons(r, x.layer), "neurons": x.neurons, "explained": x.explained}
            for x in r.layers
        ],
        "best_lead": w.best_lead(),
        "best_caption": w.best_caption(r),
        "held_out": w.held_out(r),
        "links": links,
    }


def lines(drawn: list, name: str, label: str, write=number, log_y: bool = False) -> dict[str, Any]:
    """A chart by layer with its key."""
    return {
        "svg": f.by_layer(name, drawn, label, write, log_y),
        "key": [(key_mark(line.kind), line.name) for line in drawn],
    }


def replaced(r: ModelRecord) -> dict[str, Any] | None:
    """The model with rules in the place of its neurons, if that was run."""
    if r.replaced is None:
        return None
    drawn = f.replaced(r, r.replaced)
    return {
        "lead": w.replaced(r, r.replaced),
        "chart": lines(drawn, "replaced", "KL in nats (log scale)", log_y=True) if drawn else None,
        "table": t.replaced(r, r.replaced),
        "caption": w.replaced_caption(r, r.replaced),
    }


def tiles(r: ModelRecord) -> list[dict[str, Any]]:
    """The figures of the top, each beside its baselines."""
    found = [
        tile("Neurons explained by a rule", "explained", w.total(r, "explained") / w.neurons(r), _dealt(r)),
        _trees(r),
    ]
    if r.trial is not None:
        found.append(_trial(r.trial))
    elif len(r.layers) > 1:
        found.append(_best_layer(r))
    return [*found, *([_replaced(r)] if r.replaced and _whole(r.replaced) else [])]


def _trees(r: ModelRecord) -> dict[str, Any]:
    """Like with like: beside the published figure, trees grown as published."""
    ours, grown = w.total(r, "tree") / w.neurons(r), t.as_published(r)
    above = f"(R² above {TREE_EXPLAINED})"
    if grown is not None and f.comparable(r):
        label = f"Neurons that a tree grown as published describes {above}"
        beside = f"{percent(ours)} at depth {r.table.depth} on {r.table.literals} facts"
        return tile(label, "trees", grown, [("published model (larger)", t.published_trees(r))], beside)
    label = f"Neurons that a tree of depth {r.table.depth} describes {above}"
    return tile(label, "trees", ours, [("depth 4", w.total(r, "tree_4") / w.neurons(r))])


def _best_layer(r: ModelRecord) -> dict[str, Any]:
    x = max(r.layers, key=lambda x: x.explained / x.neurons)
    label = f"Neurons of L{x.layer} explained by a rule, the most of a layer"
    return tile(
        label, "best layer", x.explained / x.neurons, [(w.all_layers(r), w.total(r, "explained") / w.neurons(r))]
    )


def _trial(s: TrialSummary) -> dict[str, Any]:
    rate = s.alone.recovered
    interval = f"[{percent(rate.low)}, {percent(rate.high)}]".replace(" %,", ",")
    beside = [("asked for", model_trial.ASKED)]
    beside += [("planted on real neurons", x.rate.value) for x in s.asked if x.what == HOSTED and x.rate.n]
    return tile(f"Rules planted alone and found, noise up to {SMALL:g} of their effect", "trial", rate.value, beside,
                interval)  # fmt: skip


def _dealt(r: ModelRecord) -> list[tuple[str, float]]:
    tried = w.total(r, "shuffled_of")
    return [("on activations dealt to other games", w.total(r, "shuffled") / tried)] if tried else []


def _whole(found: Replaced) -> bool:
    """Whether all layers were replaced together, and what that is compared with."""
    whole = found.of(None, "means", WHOLE[0])
    own = found.of(None, "rules", KINDS[1])
    return own is not None and own.neurons > 0 and whole is not None and whole.kl.value > 0


def _replaced(r: ModelRecord) -> dict[str, Any]:
    """How much of what it costs to have all neurons at their means rules undo."""
    found = r.replaced
    whole = found.of(None, "means", WHOLE[0]).kl.value
    random = found.of(None, "rules", KINDS[4])
    beside = [("random neurons’ rules", 1 - random.kl.value / whole)] if random else []
    neurons = "all neurons" if w.whole(r) else f"all neurons of {w.layer_names(r)}"
    label = f"Of the KL with {neurons} at their means, undone by explained neurons’ rules"
    return tile(label, "replaced", 1 - found.of(None, "rules", KINDS[1]).kl.value / whole, beside)
