"""A verdict as its template wants it: the rule drawn, sentences, charts, tables, counterexamples as boards.

The same context serves a page of its own and the section of a unit's page. There ``prefix`` is the verdict's place in
the unit's record, and headings lie one level deeper.
"""

from collections.abc import Callable, Mapping
from typing import Any

from circuits.errors import InputError
from circuits.verdicts.records import Verdict
from reports import charts, tables
from reports.fit_records import Sample
from reports.records import Spectrum
from reports.text import count, exact, fixed, number
from reports.verdicts import charts as verdict_charts
from reports.verdicts import inputs as verdict_inputs
from reports.verdicts import positions as rule_positions
from reports.verdicts import tables as verdict_tables
from reports.verdicts import top
from reports.verdicts import words as w
from reports.verdicts import writes as verdict_writes
from reports.verdicts.captions import captions

#: examples of a kind on a page that shows a unit's other evidence too
BRIEF = 4
WRONG = "the transcript cannot be replayed"


def context(
    v: Verdict,
    python: Callable[[str], str],
    prefix: str = "",
    level: int = 3,
    links: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What the template shows.

    Args:
        python: the Python that gets at a part of the verdict, by its path.
        prefix: the verdict's place in the record that the page shows, with a final dot.
        level: of the headings of its parts.
        links: pages of units, by name.
    """
    return View(v, python, prefix, links or {}, brief=level > 2).context() | {"level": level}


def embedded(v: Verdict, python: Callable[[str], str], links: Mapping[str, str]) -> dict[str, Any]:
    """The same for the page of a unit, whose record has the verdict at ``verdict``; ``python`` is of that record."""
    return context(v, lambda path: python(f"verdict.{path}"), "verdict.", 3, links)


class View:
    """One method a part; ``brief``: fewer examples, and of the rivals only the best of each kind."""

    def __init__(
        self, v: Verdict, python: Callable[[str], str], prefix: str, links: Mapping[str, str], brief: bool = False
    ):
        self.v, self.python, self.prefix, self.links, self.brief = v, python, prefix, links, brief
        self.cells = verdict_tables.Cells(prefix)

    def context(self) -> dict[str, Any]:
        v = self.v
        return {
            "v": v,
            "python": self.python,
            "style": top.STYLE,
            "origin_of_rule": w.origin(v),
            "untestable": w.untestable(v),
            "summary": w.tidy(v.summary),
            "missing": [w.tidy(line) for line in v.missing],
            "notes": [w.tidy(note) for note in w.notes(v)],
            "scalar": "" if v.kind == "neuron" else f"Activation of {v.unit} here: {v.scalar}.",
            "means": w.MEANS.get(v.grade, ""),
            "missing_title": w.missing_title(v),
            "captions": captions(v),
            "boards": top.boards(v),
            "origin": self.origin(),
        } | ({} if w.untestable(v) else self.parts())

    def parts(self) -> dict[str, Any]:
        """All that was measured."""
        return {
            "tiles": top.Tiles(self.v, self.prefix).all(),
            "fit": self.fit(),
            "rivals": self.rivals(),
            "inputs": self.inputs(),
            "outputs": self.outputs(),
            "colours": self.colours(),
            "checks": verdict_tables.checks(self.v),
            "key_mark": verdict_charts.key_mark,
            "example_key": [(rule_positions.mark(name), words) for name, words in rule_positions.MARKS.items()],
        }

    def fit(self) -> dict[str, Any]:
        v, f = self.v, self.v.fit
        if f is None:
            return {"absent": w.absent(v, "How the rule fits")}
        sample = Sample("held-out", f.games, f.positives + f.negatives)
        data = Spectrum(f.edges, f.counts, f.holds, v.rule, f.threshold, sample)
        lists = [self.examples(name, title) for name, title in EXAMPLES.items()]
        return {
            "absent": "",
            "lead": w.scores(v, f),
            "extremes": w.extremes(f),
            "spectrum": charts.spectrum(data),
            "spectrum_table": tables.spectrum(data),
            "ranges": verdict_charts.ranges(f) if f.when_holds or f.when_fails else None,
            "quantiles": verdict_tables.quantiles(f) if f.when_holds and f.when_fails else None,
            "scores": verdict_tables.scores(f, self.cells),
            "examples": [found for found in lists if found["cards"]],
        }

    def examples(self, name: str, title: str) -> dict[str, Any]:
        named = verdict_inputs.names(self.v.inputs)
        found = tuple(
            rule_positions.as_in_rule(e, named) for e in getattr(self.v.fit, name)[: BRIEF if self.brief else None]
        )
        try:
            boards = rule_positions.positions(found)
        except InputError:  # a record that was written by hand: the page still shows its numbers
            boards = [None] * len(found)
        cards = []
        for k, (e, board) in enumerate(zip(found, boards, strict=True)):
            path = f"{self.prefix}fit.{name}.{k}"
            cards.append(
                {
                    "path": f"{path}.activation",
                    "exact": exact(e.activation),
                    "activation": fixed(e.activation, 2, sign=True),
                    "svg": rule_positions.example_board(e, board, path) if board else WRONG,
                    "mover": f", {board.mover} to move" if board else "",
                    "ply": e.ply,
                    "rule": "rule holds" if e.holds else "rule fails",
                    "true": ", ".join(atom for atom, held in e.literals.items() if held) or "none",
                    "false": ", ".join(atom for atom, held in e.literals.items() if not held),
                }
            )
        rows = [
            (
                e.address,
                number(e.activation, 4, sign=True),
                e.ply,
                "holds" if e.holds else "fails",
                " ".join(e.transcript),
            )
            for e in found
        ]
        return {
            "title": title,
            "name": name,
            "cards": cards,
            "head": ("address", "activation", "ply", "rule", "moves so far"),
            "rows": rows,
        }

    def rivals(self) -> dict[str, Any]:
        v, r = self.v, self.v.rivals
        if r is None:
            return {"absent": w.absent(v, "How other rules do")}
        everything = None if self.brief else verdict_tables.all_rivals(v)
        return {
            "absent": "",
            "lead": w.rivals(r, v.fit),
            "chart": verdict_charts.rivals(r, v.fit),
            "worth": verdict_tables.worth(v, self.cells),
            "best": verdict_tables.best_rivals(
                v, self.cells, verdict_tables.BRIEF if self.brief else verdict_tables.PER_KIND
            ),
            "all": everything,
            "shown": len(everything.rows) if everything else 0,
            "of": len(r.rivals),
            "how": w.sentences([r.words]),
            "random": r.random.words if r.random else "",
            "drawn": ", ".join(r.random.examples) if r.random else "",
        }

    def inputs(self) -> dict[str, Any]:
        v, i = self.v, self.v.inputs
        if i is None:
            return {"absent": w.absent(v, "Whether its literals move the unit") + ONLY_AGREEMENT}
        return {
            "absent": "",
            "lead": verdict_inputs.inputs(v, i),
            "partly": verdict_inputs.edits(v, i),
            "chart": verdict_charts.shares(i),
            "toggles": verdict_tables.toggles(v, self.cells),
            "edits": verdict_tables.edits(v, self.cells),
            "senders": verdict_tables.senders(v, self.cells, self.links),
            "how": w.sentences(i.words),
        }

    def outputs(self) -> dict[str, Any]:
        v, o = self.v, self.v.outputs
        if o is None:
            return {"absent": w.absent(v, "What the unit’s absence changes")}
        kl = [
            (name, self.cells.estimate(e, f"outputs.{path}"))
            for name, path, e in (("where the rule holds", "kl", o.kl), ("where it fails", "kl_fails", o.kl_fails))
        ]
        return {
            "absent": "",
            "lead": verdict_writes.outputs(v, o),
            "charts": verdict_charts.writes(o.writes),
            "writes": verdict_tables.writes(v, self.cells),
            "by_point": verdict_tables.by_point(v),
            "kl": kl if o.kl is not None else [],
            "random_kl": verdict_tables.span(o.random_kl),
            "n_random": len(o.random_kl),
            "p_kl": w.p_value(o.p_kl) if o.p_kl is not None else "",
            "replaced": verdict_tables.replaced(v, self.cells),
        }

    def colours(self) -> dict[str, Any]:
        v, c = self.v, self.v.colours
        if c is None:
            return {"absent": w.absent(v, "Whether it is relative to the side to move")}
        return {
            "absent": "",
            "verdict": c.verdict,
            "lead": w.sentences([c.words]),
            "table": verdict_tables.colours(v, self.cells),
        }

    def origin(self) -> list[tuple[str, str, bool]]:
        """Where it comes from: term, text, is it code."""
        v = self.v
        rows = [("Unit", f"{v.unit}, {v.kind}; its activation here: {v.scalar}", False), ("Rule", v.claim, True)]
        rows.append(("The rule was", w.origin(v), False))
        if v.simplified and v.simplified != v.rule:
            rows.append(("Simplified", v.simplified, True))
        rows.append(("Model", f"{v.model} · hash {v.model_hash}", False))
        rows.append(("Games", f"{v.games} · plies {v.band[0]}…{v.band[1]}", False))
        if v.fit is not None:
            f = v.fit
            split = (
                f"training {count(f.train_games)} games; held out {count(f.positives + f.negatives)} positions of "
                f"{count(f.games)} games; split by game"
            )
            rows.append(("Positions", split, False))
        rows.append(("Seed", str(v.seed), False))
        if v.seconds:
            said = ", ".join(f"{name} {number(s, 2)}" for name, s in v.seconds.items())
            rows.append(("Seconds", said, False))
        rows += [(name, text, True) for name, text in (("Command", v.command), ("Python", v.python)) if text]
        return rows


#: lists of examples: field and title
EXAMPLES = {
    "missed": "Where the rule holds and the activation is low",
    "false_alarms": "Where the rule fails and the activation is high",
    "typical": "Where the rule holds, drawn at random",
}
ONLY_AGREEMENT = " Agreement with a rule does not show that its facts are what drives the unit."
