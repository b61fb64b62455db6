"""A head's record as the template wants it: boards and maps drawn, numbers written out, tables as rows."""

import math
from collections.abc import Mapping
from typing import Any

from circuits.notation import LABELS
from reports import boards, charts, tables
from reports.heads import cause_view as head_cause_view
from reports.heads import charts as head_charts
from reports.heads import sentences as head_sentences
from reports.heads import words as head_words
from reports.heads import write_view as head_write_view
from reports.heads.captions import captions, fact_note
from reports.heads.cells import ends, interval, map_csv, map_words, nats, one_decimal, value_map
from reports.heads.records import Attended, AttendedList, HeadRecord
from reports.text import exact, fixed, number, percent
from reports.tiles import tile
from reports.verdicts import view as verdict_view


class HeadView:
    """What the template shows, computed from a record; one method a figure."""

    def __init__(self, record: HeadRecord, links: Mapping[str, str]):
        self.r, self.links = record, links
        self.headline = head_words.headline(record)

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
            "groups": self.groups(),
            "offset": self.offset(),
            "displacement": self.displacement(),
            "source": value_map("attention.source", r.attention.source, "excess attention", 1.0),
            "dependence": self.dependence(),
            "by_ply": {"svg": head_charts.by_ply(r.attention), "csv": pattern_csv(r)},
            "examples": [self.examples(i, e) for i, e in enumerate(r.examples)],
            "own": head_write_view.own(self.r),
            "around": head_write_view.around(self.r),
            "links": head_write_view.link_table(self.r),
            "separation": head_write_view.separation(self.r),
            "separations": head_write_view.separations(self.r),
            "logits": head_write_view.logits(self.r),
            "alone": head_write_view.alone(self.r),
            "causes": head_cause_view.causes(r) if r.causes is not None else None,
            "verdict": verdict_view.embedded(r.verdict, self.python, self.links) if r.verdict is not None else None,
            "connections": head_cause_view.connections(r, self.links),
            "checks": tables.checks(r.checks),
            "grades": head_words.grades_in_words(),
        }

    def python(self, path: str) -> str:
        return f"{self.r.provenance.python}.record.{path}"

    def words(self) -> dict[str, str]:
        r, n = self.r, len(self.r.checks)
        words = {
            "attention": head_sentences.attention(r),
            "places": head_sentences.places(r),
            "moves": head_sentences.moves(r),
            "written": head_sentences.written(r),
            "reading": head_sentences.reading(r),
            "causes": head_sentences.causes(r) if r.causes is not None else "",
            "neighbours": head_sentences.neighbours(r.neighbours),
            "checks": (
                f"{n} sampled number{'s' * (n > 1)} computed again from the raw weights, the probe and fresh forward "
                "passes, all in agreement"
                if n
                else "the numbers drawn on this page equal its record; none was computed again from the artefacts"
            ),
        }
        return {name: head_words.unbroken(text) for name, text in words.items()}

    def strip(self) -> list[dict[str, Any]]:
        """The head in three small figures: attends to, moves, separates."""
        r, faint = self.r, head_words.faint(self.r)
        because = f"; {faint}" if faint else ""
        names = ("itself", "mine", "theirs") if r.attention.kind.name != "first" else ("first", "mine", "theirs")
        sides = [g for g in r.attention.groups if g.name in names]
        sides.sort(key=lambda g: names.index(g.name))
        items = [{"title": "attends to", "note": "moves; tick: uniform", "svg": head_charts.small_groups(sides)}]
        facts = [(i, m) for i, m in enumerate(r.moves.facts) if m.fact in ("mine", "empty")]
        if facts:
            i, m = max(facts, key=lambda item: abs(item[1].mean) / (item[1].elsewhere or 1))
            scale = boards.scale_of([m.around])
            drawn = head_write_view.around_map(r, i, scale)
            items.append({"title": "moves", "note": fact_note(m.fact) + because, "svg": drawn, "faint": faint})
        best = head_words.strongest(r)
        if best is not None:
            path = f"writes.facts.{r.writes.facts.index(best)}.board"
            drawn = boards.value_board(best.board, boards.scale_of([best.board]), fact_note(best.fact), path, mark=0)
            items.append({"title": "tells apart", "note": fact_note(best.fact) + because, "svg": drawn, "faint": faint})
        return items

    def tiles(self) -> list[dict[str, Any]]:
        """The four figures of the top, each beside its baselines."""
        r, a = self.r, self.r.attention
        g = head_words.main_group(a)
        path = f"attention.groups.{a.groups.index(g)}.attention.mean"
        label = f"Attention to {g.words}"
        found = [tile(label, path, g.attention.mean, (("uniform", g.uniform),), interval(g.attention))]
        label = "How far the pattern lies from its ply’s mean (total variation)"
        found.append(
            tile(label, "attention.distance.mean", a.distance.mean, (("from uniform", a.from_uniform),),
                 interval(a.distance))
        )  # fmt: skip
        x = r.reading
        names = {"constant": "guessing", "random": "random weights", "layer": "whole layer", "after": "stream"}
        beside = [(words, x.baseline(name)) for name, words in names.items() if x.baseline(name) is not None]
        label = "Squares read right from its output alone"
        item = tile(label, "reading.accuracy.mean", x.accuracy.mean, beside, interval(x.accuracy, 1), one_decimal)
        if head_sentences.below_guessing(r):
            item["baselines"] = f"below guessing; {item['baselines']}"
        found.append(item)
        if r.causes is not None and (w := head_words.ablated(r)) is not None:
            i = r.causes.methods.index(w)
            beside = [
                (words, m.kl.mean)
                for name, words in (("random direction", "turned at random"), ("frozen pattern", "pattern frozen"))
                if (m := r.causes.method(name)) is not None
            ]
            label = "How far the prediction moves without it (KL, nats)"
            item = tile(label, f"causes.methods.{i}.kl.mean", w.kl.mean, beside, nats(w.kl), head_words.nats)
            item["bar"] = charts.bullet(on_kl_scale(w.kl.mean), [on_kl_scale(v) for _, v in beside])
            item["baselines"] += " · bar: log scale, 1e−6 to 1"
            found.append(item)
        return [item | {name: head_words.unbroken(item[name]) for name in ("value", "baselines")} for item in found]

    # ---- attends ----

    def dependence(self) -> list[tuple[str, str]]:
        """How much the pattern depends on the game, in rows."""
        a = self.r.attention
        explained = f"{percent(1 - a.unexplained)}" if a.unexplained < 1 else "none"
        agreement = f"{percent(a.kind.agreement)} of games"
        return [
            (
                "distance from the mean pattern of its ply",
                f"{percent(a.distance.mean)} ({interval(a.distance, 1)})".removesuffix(" ()"),
            ),
            ("distance from uniform attention", percent(a.from_uniform)),
            ("variance of the pattern explained by ply", explained),
            ("entropy, nats", f"{fixed(a.entropy)} (uniform {fixed(a.entropy_uniform)})"),
            (f"games that alone give the same kind ({a.kind.name})", agreement),
        ]

    def groups(self) -> dict[str, Any]:
        rows = [(g.name, g.words, *ends(g.attention), number(g.uniform, 4)) for g in self.r.attention.groups]
        head = ("group", "what it is", "attention", "from", "to", "uniform")
        return {"svg": head_charts.groups(self.r.attention.groups), "head": head, "rows": rows}

    def offset(self) -> dict[str, Any]:
        a = self.r.attention
        rows = [
            (k, number(v, 4), number(u, 4)) for k, v, u in zip(a.offsets, a.by_offset, a.offset_uniform, strict=True)
        ]
        return {"svg": head_charts.by_offset(a), "head": ("moves back", "attention", "uniform"), "rows": rows}

    def displacement(self) -> dict[str, Any]:
        values = self.r.attention.displacement
        return {
            "svg": head_charts.displacement(
                values, 1.0, "the last move’s square", f"Excess attention: {map_words(values)}",
                "attention.displacement"
            ),
            "words": map_words(values),
            "csv": map_csv(values),
        }  # fmt: skip

    def examples(self, i: int, examples: AttendedList) -> dict[str, Any]:
        title = {"farthest": "Least like the mean", "random": "Random positions"}[examples.kind]
        rows = [
            (e.address, number(e.distance, 4), percent(e.itself), percent(e.mine), percent(e.theirs), e.ply,
             " ".join(f"{m} {100 * v:.1f}" for m, v in zip(e.transcript.split(), e.pattern, strict=True)))
            for e in examples.positions
        ]  # fmt: skip
        return {
            "title": title,
            "note": f"{examples.note[:1].upper()}{examples.note[1:]}.",
            "sample": examples.sample,
            "python": self.python(f"examples[{i}]"),
            "head": ("address", "distance", "last move", "mine", "theirs", "ply", "moves so far, attention in %"),
            "rows": rows,
            "cards": [self.card(f"examples.{i}.positions.{k}", e) for k, e in enumerate(examples.positions)],
        }

    def card(self, path: str, e: Attended) -> dict[str, Any]:
        shares = e.attention
        top = sorted(range(64), key=lambda s: -shares[s])[:3]
        return {
            "path": path,
            "exact": exact(e.distance),
            "distance": percent(e.distance),
            "svg": head_charts.attended_board(e, path),
            "mover": e.mover,
            "ply": e.ply,
            "top": ", ".join(
                f"{LABELS[s]}\u00a0{percent(shares[s], 0)}".replace(" ", "\u00a0") for s in top if shares[s] >= 0.005
            ),
        }


def on_kl_scale(kl: float) -> float:
    """A KL divergence on the one scale of all heads: logarithmic, 0 at `KL_NOISE`, 1 at one nat."""
    return 1 - math.log10(max(kl, head_words.KL_NOISE)) / math.log10(head_words.KL_NOISE)


def pattern_csv(r: HeadRecord) -> str:
    a = r.attention
    rows = ["from ply, to ply 0, 1, 2 …: attention in %"]
    rows += [f"{a.first_ply + i}," + ",".join(f"{100 * v:.2g}" for v in row) for i, row in enumerate(a.by_ply)]
    return "\n".join(rows)
