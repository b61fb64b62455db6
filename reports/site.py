"""A folder of pages: an index of a set of neurons and heads, a page and a JSON file for each, all of them offline."""

from collections.abc import Sequence
from pathlib import Path

from circuits.errors import InputError
from circuits.files import write_whole
from reports import boards, charts
from reports.captions import probe_caption
from reports.checks import check_page
from reports.headline import headline
from reports.heads import words as head_words
from reports.heads.captions import fact_note
from reports.heads.checks import check_head_page
from reports.heads.page import head_page
from reports.heads.records import HeadRecord
from reports.index_records import HeadEntry, IndexEntry, IndexRecord
from reports.neuron import environment, neuron_page
from reports.records import NeuronRecord
from reports.text import percent
from reports.view import grades_in_words

INDEX = "index.html"


def index_entry(record: NeuronRecord) -> IndexEntry:
    """A neuron's line in the index."""
    head, fit = headline(record), record.patterns.best
    return IndexEntry(
        unit=record.unit,
        layer=record.layer,
        chosen=record.chosen,
        headline=head.sentence,
        grade=head.grade,
        f1=fit and fit.held_out.f1,
        chance_f1=fit and fit.held_out.chance_f1,
        variance_explained=fit and fit.variance_explained,
        share_positive=record.activity.share_positive,
        logits=record.writes.logits,
        link=f"{record.unit}.html",
    )


def head_entry(record: HeadRecord) -> HeadEntry:
    """A head's line in the index."""
    head, group, best = (
        head_words.headline(record),
        head_words.main_group(record.attention),
        head_words.strongest(record),
    )
    without = head_words.ablated(record)
    control = record.causes and record.causes.method("random direction")
    return HeadEntry(
        unit=record.unit,
        layer=record.layer,
        chosen=record.chosen,
        headline=head.sentence,
        grade=head.grade,
        group=group.words,
        attention=group.attention.mean,
        uniform=group.uniform,
        kl=without and without.kl.mean,
        control=control and control.kl.mean,
        fact=fact_note(best.fact) if best else "excess attention",
        board=best.board if best else record.attention.source,
        faint=head_words.faint(record) if best else "",
        link=f"{record.unit}.html",
    )


def _figures(e: HeadEntry) -> list[str]:
    """A head's figures in the index, each beside its baseline."""
    lines = [f"{e.group}: {percent(e.attention)}, uniform {percent(e.uniform)}"]
    if e.kl is not None:
        beside = "" if e.control is None else f", turned at random {head_words.nats(e.control)}"
        lines.append(f"KL {head_words.nats(e.kl)}{beside}")
    return lines


def index_page(index: IndexRecord) -> str:
    """The index as HTML: what the model is, how well it plays, how well the probe reads, which units."""
    layers: dict[int, list[dict]] = {}
    heads: dict[int, list[dict]] = {}
    for entry in sorted(index.heads, key=lambda e: e.layer):
        heads.setdefault(entry.layer, []).append(
            {
                "entry": entry,
                "board": boards.small_board(entry.board, f"{entry.unit}, what its output tells apart, {entry.fact}"),
                "bar": charts.bullet(entry.attention, [entry.uniform]),
                "figures": [head_words.unbroken(line) for line in _figures(entry)],
            }
        )
    for entry in sorted(index.entries, key=lambda e: e.layer):
        layers.setdefault(entry.layer, []).append(
            {
                "entry": entry,
                "board": boards.small_board(entry.logits, f"{entry.unit}, direct write to the logits"),
                "bar": None if entry.f1 is None else charts.bullet(entry.f1, [entry.chance_f1 or 0.0]),
            }
        )
    return (
        environment()
        .get_template("index.html")
        .render(
            r=index,
            p=index.provenance,
            layers=layers,
            heads=heads,
            probe=charts.probe(index.probe) if index.probe else None,
            probe_caption=probe_caption(index.probe),
            grades=grades_in_words(),
            head_grades=head_words.grades_in_words(),
        )
    )


def write_site(out: str | Path, records: Sequence[NeuronRecord | HeadRecord], index: IndexRecord) -> Path:
    """Write the index, and for every record its page and its JSON; the path of the index.

    Every page is drawn and checked against its record before the first file is written, each file is written
    whole or not at all, and the index comes last, so that it never names a page that is not there.

    Raises:
        InputError: the index names other units than the records; the folder cannot be written.
        PageError: a page does not show what its record says.
    """
    out = Path(out)
    units = [r.unit for r in records]
    if sorted(units) != sorted(e.unit for e in index.units):
        listed = ", ".join(e.unit for e in index.units)
        raise InputError(f"the index lists {listed or 'nothing'}, the records are of {', '.join(units) or 'nothing'}")
    files = {}
    for record in records:
        links = {unit: f"{unit}.html" for unit in units if unit != record.unit}
        draw, check = (head_page, check_head_page) if isinstance(record, HeadRecord) else (neuron_page, check_page)
        page = draw(record, links, index_link=INDEX, json_link=f"{record.unit}.json")
        check(page, record)
        files[f"{record.unit}.html"] = page
        files[f"{record.unit}.json"] = record.to_json()
    files["index.json"] = index.to_json()
    files[INDEX] = index_page(index)
    for name, text in files.items():
        with write_whole(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return out / INDEX
