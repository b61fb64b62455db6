"""A neuron's record as the template wants it: boards drawn, numbers written out, tables as rows."""

from collections.abc import Mapping, Sequence
from typing import Any

from circuits.notation import parse_unit
from circuits.serial import at
from reports import boards, charts, found_rule, tables, words
from reports.captions import captions, sentence_case
from reports.causes import view as cause_view
from reports.headline import (
    GRADES,
    MATCH_AT,
    MATCHES,
    NONE,
    PARTLY,
    PARTLY_AT,
    RARE,
    RARE_BELOW,
    headline,
    permille,
)
from reports.records import Board, Example, Examples, NeuronRecord
from reports.text import exact, fixed, number, percent
from reports.tiles import tile
from reports.verdicts import view as verdict_view


class View:
    """What the template shows, computed from a record; one method a figure."""

    def __init__(self, record: NeuronRecord, links: Mapping[str, str]):
        self.r, self.links = record, links
        self.headline = headline(record)
        self.d_model = record.provenance.d_model

    def context(self) -> dict[str, Any]:
        r = self.r
        return {
            "r": r,
            "p": r.provenance,
            "headline": self.headline,
            "python": self.python,
            "strip": self.strip(),
            "tiles": self.tiles(),
            "words": self.words(),
            "captions": captions(r),
            "reads": self.reads(),
            "spectrum": charts.spectrum(r.spectrum),
            "spectrum_table": tables.spectrum(r.spectrum),
            "by_ply": charts.by_ply(r.by_ply),
            "by_ply_table": tables.by_ply(r.by_ply),
            "patterns": tables.patterns(r.patterns.fits),
            "examples": [self.examples(i, e) for i, e in enumerate(r.examples)],
            "squares": self.squares(),
            "means": self.means(),
            "logits": self.logits(),
            "writes": self.writes(),
            "causes": cause_view.causes(r.causes, self.links) if r.causes else None,
            "found": found_rule.context(r.found, self.python, self.links) if r.found else None,
            "verdict": self.verdict(),
            "neighbours": self.neighbours(),
            "checks": tables.checks(r.checks),
            "grades": grades_in_words(),
        }

    def python(self, path: str) -> str:
        return f"{self.r.provenance.python}.record.{path}"

    def words(self) -> dict[str, str]:
        r = self.r
        n = len(r.checks)
        checked = (
            f"{n} sampled number{'s' * (n > 1)} computed again from the stored artefacts, all in agreement"
            if n
            else "the numbers drawn on this page equal its record; none was computed again from the artefacts"
        )
        return {
            "reads": words.reads(r.reads, self.d_model),
            "reads_share": words.share_sentence(r.reads.share),
            "fires": words.fires(r),
            "spectrum_fact": words.spectrum_fact(r),
            "squares": words.squares(r.square_states),
            "writes": words.writes(r),
            "writes_probe_share": words.share_sentence(r.writes.share_probe),
            "writes_unembed_share": words.share_sentence(r.writes.share_unembed),
            "neighbours": words.neighbours(r.neighbours),
            "checks": checked,
        }

    def strip(self) -> list[dict[str, Any]]:
        """The neuron in three small boards: reads, fires, writes."""
        r = self.r
        name, board, note = max(
            (("mine", r.reads.mine, "mine − theirs"), ("empty", r.reads.empty, "empty − occupied")),
            key=lambda item: boards.scale_of([item[1]]),
        )
        items = [
            {
                "title": "reads",
                "note": note,
                "svg": boards.value_board(board, boards.scale_of([board]), note, f"reads.{name}", mark=0),
            }
        ]
        fit = r.patterns.best
        if fit is not None:
            story = self.headline.grade in (MATCHES, PARTLY)
            items.append(
                {
                    "title": {MATCHES: "fires when", PARTLY: "partly fits"}.get(self.headline.grade, "no fact"),
                    "note": f"{'' if story else 'best '}held-out F1 {fit.held_out.f1:.2f}",
                    "svg": boards.fact_board(fit),
                    "faint": not story,
                }
            )
        logits = r.writes.logits
        drawn = boards.value_board(
            logits, boards.scale_of([logits]), "logits per unit of activation", "writes.logits", mark=0
        )
        items.append({"title": "writes", "note": "direct, to the move logits", "svg": drawn})
        return items

    def tiles(self) -> list[dict[str, Any]]:
        """The four figures of the top, each beside its baselines; a unit without fits has two."""
        r, fit = self.r, self.r.patterns.best
        tiles = []
        if fit is not None:
            score = fit.held_out
            controls = (("always on", score.chance_f1), ("shuffled", fit.shuffled_f1))
            interval = f"{fit.f1_low:.2f}–{fit.f1_high:.2f}"
            path, label = "patterns.fits.0.held_out.f1", "Held-out F1 of the best fact"
            tiles.append(tile(label, path, score.f1, controls, interval, lambda v: f"{v:.2f}"))
            path, label = "patterns.fits.0.variance_explained", "Activation variance explained by that fact"
            controls = (("ply alone", r.patterns.ply_variance_explained),)
            tiles.append(tile(label, path, fit.variance_explained, controls))
        for label, path in (
            ("Input weight’s norm² in the probe’s span", "reads.share"),
            ("Output weight’s norm² in the unembedding’s span", "writes.share_unembed"),
        ):
            share = at(r, path)
            tiles.append(tile(label, f"{path}.value", share.value, (("a random vector", share.baseline),)))
        return tiles

    def _group(self, items: Sequence[tuple], kind: str = "", head=(), rows=()) -> dict[str, Any]:
        """Boards on one colour scale: (title, note, board as shown, path, minus)."""
        scale = boards.scale_of([board for _, _, board, _, _ in items])
        drawn = [
            {
                "title": title,
                "note": note,
                "svg": boards.value_board(board, scale, f"{title}, {note}", path, minus),
                "words": boards.extremes_markup(board),
            }
            for title, note, board, path, minus in items
        ]
        return {"boards": drawn, "scale": scale, "kind": kind, "head": head, "rows": rows}

    def reads(self) -> dict[str, Any]:
        r = self.r.reads
        items = [
            ("mine", "mine − theirs", r.mine, "reads.mine", ""),
            ("empty", "empty − occupied", r.empty, "reads.empty", ""),
        ]
        for name, note in (("flipped", "by the last move"), ("played", "as the last move")):
            if (board := getattr(r, name)) is not None:
                items.append((name, note, board, f"reads.{name}", ""))
        return self._group(items, "", *tables.board([(title, board) for title, _, board, _, _ in items]))

    def writes(self) -> dict[str, Any]:
        r = self.r.writes
        items = [
            ("mine", "mine − theirs", r.mine, "writes.mine", ""),
            ("empty", "empty − occupied", r.empty, "writes.empty", ""),
        ]
        return self._group(items, "", *tables.board([("mine", r.mine), ("empty", r.empty)]))

    def logits(self) -> dict[str, Any]:
        board = self.r.writes.logits
        items = [("60 moves", "logit per unit of activation", board, "writes.logits", "")]
        return self._group(items, "wide", *tables.board([("logit", board)]))

    def squares(self) -> dict[str, Any]:
        r = self.r.square_states
        items, columns = [], []
        for name in ("empty", "theirs", "mine"):
            top, base = getattr(r, f"top_{name}"), getattr(r, f"base_{name}")
            paths = f"square_states.top_{name}", f"square_states.base_{name}"
            items.append((name, "top minus base rate", minus(top, base), *paths))
            columns += [(f"{name}, top", top), (f"{name}, base", base)]
        return self._group(items, "three", *tables.board(columns))

    def means(self) -> dict[str, Any]:
        r = self.r.conditional_means
        items, columns = [], []
        for name in ("empty", "theirs", "mine"):
            board = getattr(r, name)
            shown = tuple(None if v is None else v - r.mean for v in board)
            paths = f"conditional_means.{name}", "conditional_means.mean"
            items.append((name, "minus the overall mean", shown, *paths))
            columns += [(name, board), (f"{name}, positions", getattr(r, f"count_{name}"))]
        return self._group(items, "three", *tables.board(columns))

    def examples(self, i: int, examples: Examples) -> dict[str, Any]:
        titles = {
            "top": "Highest activations",
            "bottom": "Lowest activations",
            "quantile": "Across the quantiles",
            "random": "Random positions",
        }
        holds = {True: "holds", False: "", None: "–"}
        rows = [
            (e.address, number(e.activation, 4, sign=True), e.ply, holds[e.holds], e.transcript)
            for e in examples.positions
        ]
        return {
            "title": titles[examples.kind],
            "note": f"{sentence_case(examples.note)}. Under each board: the model’s likeliest moves.",
            "sample": examples.sample,
            "python": self.python(f"examples[{i}]"),
            "head": ("address", "activation", "ply", "best fact", "moves so far"),
            "rows": rows,
            "cards": [self.card(f"examples.{i}.positions.{k}", e) for k, e in enumerate(examples.positions)],
        }

    def card(self, path: str, e: Example) -> dict[str, Any]:
        moves = ", ".join(
            f"{m.square}\u00a0{percent(m.probability, 0)}".replace(" ", "\u00a0")
            + ("" if m.square in e.legal else " (illegal)")
            for m in e.top_moves[:3]
        )
        return {
            "path": path,
            "exact": exact(e.activation),
            "activation": fixed(e.activation, 2, sign=True),
            "quantile": "" if e.quantile is None else f"{number(100 * e.quantile)} % quantile",
            "svg": boards.position_board(e, self.r.patterns.best, path),
            "mover": e.mover,
            "ply": e.ply,
            "holds": bool(e.holds),
            "moves": moves or "none",
        }

    def verdict(self) -> dict[str, Any] | None:
        """The rule that was tested, if any."""
        if self.r.verdict is None:
            return None
        return verdict_view.embedded(self.r.verdict, self.python, self.links)

    def neighbours(self) -> list[dict[str, Any]]:
        sides = []
        for name in ("upstream", "downstream"):
            rows = [
                {
                    "unit": n.unit,
                    "kind": parse_unit(n.unit).kind,
                    "link": self.links.get(n.unit),
                    "path": f"neighbours.{name}.{i}.value",
                    "exact": exact(n.value),
                    "value": fixed(n.value, 2, sign=True),
                    "fact": n.fact,
                    "f1": "" if n.fact_f1 is None else f"{n.fact_f1:.2f}",
                }
                for i, n in enumerate(getattr(self.r.neighbours, name))
            ]
            sides.append({"title": name.capitalize(), "rows": rows, "measure": "connection"})
        return sides


def grades_in_words() -> str:
    """The rule of every grade in one line."""
    rules = {
        MATCHES: f"precision and recall both at least {MATCH_AT}",
        PARTLY: f"skill (how far F1 gets from always on to 1) at least {PARTLY_AT}",
        RARE: f"activation above 0 in fewer than {permille(RARE_BELOW)} positions",
        NONE: "everything else",
    }
    return "; ".join(f"{grade}: {rules[grade]}" for grade in GRADES)


def minus(a: Board, b: Board) -> Board:
    """Cell by cell; None where either is."""
    return tuple(None if x is None or y is None else x - y for x, y in zip(a, b, strict=True))
