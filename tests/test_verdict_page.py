"""A verdict's page: true to its record, whole whatever is missing, and never saying more than was measured."""

import dataclasses
import itertools
import re
from html import unescape

import pytest
from synthetic_head import head_of
from synthetic_record import positions_of, record_of
from synthetic_verdict import RULE, estimate, fit, inputs, outputs, rivals, toggle, verdict, verdict_of
from test_pages import Outline

from circuits.errors import InputError
from circuits.features import LITERALS
from circuits.notation import LABELS
from circuits.rules import sq
from circuits.rules.text import parse_claim, parse_rule
from circuits.serial import Record, at
from circuits.verdicts import grades as g
from circuits.verdicts.records import Example, Verdict
from reports.boards import corner
from reports.checks import PageError, check_page, number_in
from reports.heads.checks import check_head_page
from reports.heads.page import head_page
from reports.heads.records import HeadRecord
from reports.neuron import neuron_page
from reports.patching.heatmaps import Dot, dots
from reports.records import NeuronRecord
from reports.verdicts import boards as rule_boards
from reports.verdicts import charts as verdict_charts
from reports.verdicts import inputs as verdict_inputs
from reports.verdicts import plots as verdict_plots
from reports.verdicts import positions as rule_positions
from reports.verdicts import tables as verdict_tables
from reports.verdicts import top as verdict_top
from reports.verdicts import words as w
from reports.verdicts import writes as verdict_writes
from reports.verdicts.page import VerdictReport, verdict_html

PARTS = ("fit", "rivals", "inputs", "outputs", "colours")
SECTIONS = ("fits", "rivals", "inputs", "outputs", "colours", "checks")


@pytest.fixture(scope="module", params=g.GRADES)
def v(request):
    return verdict_of(request.param)


@pytest.fixture(scope="module")
def html(v):
    return verdict_html(v)


def text_of(html):
    """What is read, in one line."""
    return " ".join(unescape(re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.S)).split()).replace(
        "\u00a0", " "
    )


def section(html, name):
    return re.search(rf'id="rule-{name}">(.*?)(?=<div class="rule-part"|</main>|</section>)', html, re.S)[1]


def figures_of(html):
    return re.findall(r'data-path="([^"]+)" data-v="([^"]+)">([^<]*)<', html)


# ---- the page and its record ---------------------------------------------------------------------------------


def unit_of(path, shown):
    """What a number written out is multiplied by: percents, and points of percent."""
    points = re.search(r"better|loss|neighbour_gain", path)
    return 0.01 if points or shown.replace("\u00a0", " ").endswith(" %") else 1.0


def bare(shown):
    return number_in(shown.replace("\u00a0", " ").removesuffix(" %").lstrip("< "))


def test_every_figure_of_a_page_is_its_records(v, html):
    found = figures_of(html)
    assert len(found) > 30 or v.grade == g.UNTESTABLE
    for path, exact, shown in found:
        value = at(v, path)
        assert float(exact) == pytest.approx(value, rel=1e-3, abs=1e-12), path
        assert bare(shown) * unit_of(path, shown) == pytest.approx(value, rel=0.06, abs=0.0051), (path, shown)


def test_intervals_stand_beside_their_figures(html, v):
    found = re.findall(r'data-path="([^"]+)\.value"[^>]*>([^<]*)</span> <small>\[([^,]+),\s([^\]]+)\]', html)
    assert len(found) > 20 or v.grade == g.UNTESTABLE
    for path, shown, low, high in found:
        e, unit = at(v, path), unit_of(path, shown)
        for text, value in ((low, e.low), (high, e.high)):
            assert bare(text) * unit == pytest.approx(value, rel=0.06, abs=0.0051), path


def test_the_top_says_grade_rule_sentence_and_what_is_missing(v, html):
    text = text_of(html.split("<main>")[0])
    for said in (v.claim, v.in_words, w.tidy(v.summary), w.MEANS[v.grade][1:], "Rule tested (given)"):
        assert said in text
    assert f'data-verdict-grade="{v.grade}"' in html
    assert all(w.tidy(line) in text for line in (*v.missing, *v.notes))
    assert html.count('<li class="tile">') == (0 if v.grade == g.UNTESTABLE else 4)
    assert not re.search(r"grade \d of \d", text_of(html))  # no order of quality
    if v.missing and v.grade in g.GRADES[3:7]:
        assert f"Missing for the next grade, “{g.GRADES[g.GRADES.index(v.grade) + 1]}”" in text


def test_every_mark_on_a_board_has_its_style(html):
    style = re.search(r"<style>(.*?)</style>", html, re.S)[1]
    drawn = "".join(re.findall(r"<svg.*?</svg>", html, re.S))
    shapes = re.findall(r'<(?:path|rect|circle) class="([^"]+)"', drawn)
    names = {name for classes in shapes for name in classes.split()}
    assert len(names) > 2
    for name in names:
        assert re.search(rf"\.{name}\b", style), name


def test_every_check_is_listed_with_its_outcome(v, html):
    found = re.findall(r'<li class="(yes|no|none)"><b>([^<]+)</b><span>(.*?)</span></li>', html)
    expected = {(c.name, {True: "passed", False: "failed", None: "not asked"}[c.passed]) for c in v.checks}
    assert len(found) == len(v.checks)
    shown = {(name, said) for _, said, text in found for name, _ in expected if text_of(text).startswith(f"{name}: ")}
    assert shown == expected
    for c in v.checks:
        assert w.tidy(c.figure) in text_of(html) and c.threshold in text_of(html)


def test_a_page_asks_nothing_of_anyone_and_stays_small(html):
    outline = Outline(html)
    assert len(html.encode()) <= 150_000
    assert not outline.all("script")
    assert not re.findall(r"https?://|url\(|@import", html)
    assert "default-src 'none'" in html
    for tag, attrs in outline.tags:
        for name in ("src", "srcset", "data", "action", "href", "xlink:href"):
            value = attrs.get(name)
            assert value is None or value.startswith(("#", "data:,")), (tag, name, value)
        assert not any(name.startswith("on") for name in attrs)


LONG = (
    "(A0 empty | A1 empty) & B4 occupied @-1 & C0 empty & D1 theirs & E2 mine & !F3 black & legal G7 via NW x3 "
    "& flips >= 2 & black to move & ply 10..40"
)


def test_a_long_rule_with_many_rivals_still_makes_a_small_page():
    v = verdict_of(g.WRITES)
    atoms = [str(atom) for atom in parse_rule(LONG).atoms]

    def longer(examples):
        return tuple(dataclasses.replace(e, literals={a: i % 2 == 0 for i, a in enumerate(atoms)}) for e in examples)

    many = tuple(dataclasses.replace(x, rule=f"{LONG} & H{i % 8} empty") for i, x in enumerate(v.rivals.rivals * 5))
    found = dataclasses.replace(
        v, rule=LONG, claim=f"{LONG} ⇒ B4 theirs, -C0, -L7N4", rivals=dataclasses.replace(v.rivals, rivals=many),
        fit=dataclasses.replace(v.fit, **{n: longer(getattr(v.fit, n)) for n in ("missed", "false_alarms", "typical")}),
    )  # fmt: skip
    html = verdict_html(found)
    assert len(html.encode()) <= 150_000
    heard(html)
    assert "said to write" in html
    assert all(f'<p class="note">{line}</p>' in html for line in ("black to move", "ply 10..40", "L7N4 inhibited"))


def heard(html):
    """Headings in order, drawings named, ids unique and met."""
    outline = Outline(html)
    levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
    for svg in outline.all("svg"):
        assert svg.get("aria-hidden") == "true" or (svg.get("role") == "img" and svg.get("aria-label"))
    ids = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for a in (*outline.all("a"), *outline.all("use")):
        assert a["href"][0] != "#" or a["href"][1:] in ids


def test_a_page_can_be_heard(html):
    heard(html)


def test_every_figure_has_a_caption_and_its_code(html, v):
    figures = html.split("<figure>")[1:]
    assert len(figures) > 12 or v.grade == g.UNTESTABLE
    for figure in figures:
        figure = figure.split("</figure>")[0]
        assert "<figcaption>" in figure
        (path,) = set(re.findall(r"<code>open_model\(\)\.test\([^<]*\)\.verdict\.([\w.]+)</code>", figure))
        at(v, path)


def evil(record):
    """The record with every text replaced; names of squares, which are checked, with squares that cannot be played."""

    def turned(value):
        if isinstance(value, str):
            return '"><script>alert(1)</script><i onclick="x'
        if isinstance(value, dict):
            return {f"{i} <b>&": turned(x) for i, x in enumerate(value.values())}
        if isinstance(value, tuple):
            return tuple(map(turned, value))
        if isinstance(value, Record):
            return dataclasses.replace(
                value, **{f.name: turned(getattr(value, f.name)) for f in dataclasses.fields(value)}
            )
        return value

    return turned(record)


def test_whatever_a_rule_says_reaches_a_page_as_text():
    wrong = evil(verdict_of(g.WRITES))
    page = verdict_html(wrong, links={wrong.unit: '" onclick="x'}, json_link='"><script>')
    for html in (page, neuron_page(dataclasses.replace(record_of("match"), verdict=wrong))):
        outline = Outline(html)
        assert not outline.all("script")
        assert not any(name.startswith("on") for _, attrs in outline.tags for name in attrs)
        assert "&lt;script&gt;" in html
        assert "the transcript cannot be replayed" in html
    assert [tag for tag, _ in Outline(VerdictReport(wrong)._repr_html_()).tags] == ["iframe"]


# ---- what is missing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_was_not_measured_is_said_to_be_so(part):
    found = dataclasses.replace(verdict_of(g.WRITES), notes=("the games ran out",), **{part: None})
    html = verdict_html(found)
    name = {"fit": "fits"}.get(part, part)
    assert re.search(r'class="absent">[^<]* was not measured: the games ran out\.', section(html, name))
    assert not figures_of(section(html, name))
    assert "<figure>" not in section(html, name)
    heard(html)


def thinned(record):
    """The record with everything that may be missing missing, one level down from the verdict's parts on."""
    changes = {}
    for f in dataclasses.fields(record):
        value = getattr(record, f.name)
        if isinstance(value, Record):
            changes[f.name] = thinned(value)
        elif isinstance(value, tuple):
            changes[f.name] = tuple(thinned(x) if isinstance(x, Record) else x for x in value)
        if "None" in str(f.type) and f.name not in PARTS:
            changes[f.name] = None
    return dataclasses.replace(record, **changes)


def test_a_verdict_in_which_nothing_optional_is_known_still_makes_a_page():
    bare = thinned(verdict_of(g.WRITES))
    assert bare.inputs.control is None and bare.fit.f1.low is None and bare.outputs.writes[0].total is None
    html = verdict_html(bare)
    heard(html)
    for path, exact, _ in figures_of(html):
        assert float(exact) == pytest.approx(at(bare, path), rel=1e-3), path
    assert "None" not in text_of(html)
    assert "nan" not in text_of(html).split()
    assert VerdictReport(bare).text


def test_a_verdict_with_empty_parts_still_makes_a_page():
    empty = dataclasses.replace(
        verdict_of(g.WRITES),
        fit=dataclasses.replace(fit(), missed=(), false_alarms=(), typical=(), when_holds=(), when_fails=()),
        rivals=dataclasses.replace(rivals(), rivals=(), random=None, literals=(), automatic=None),
        inputs=dataclasses.replace(inputs(), toggles=(), edits=(), senders=(), control=None, words=()),
        outputs=dataclasses.replace(outputs(writes=False), kl=None, random_kl=(), replacements=(), words=()),
        checks=(), colours=None, claim="no rule at all", seconds={}, command="", python="",
    )  # fmt: skip
    html = verdict_html(empty)
    heard(html)
    text = text_of(html)
    for said in ("No other rule was tried", "The checkpoint was not edited", "No literal could be changed alone",
                 "The rule claims nothing of what the unit writes", "No threshold could be asked"):  # fmt: skip
        assert said in text
    assert verdict_top.boards(empty) == []


# ---- words ---------------------------------------------------------------------------------------------------


def test_nothing_is_called_a_cause_where_nothing_was_tested():
    untested = verdict(fit(), rivals())
    assert untested.grade == g.UNDERPOWERED
    html = verdict_html(untested)
    assert "Agreement with a rule does not show that its facts are what drives the unit" in text_of(html)
    for name in ("inputs", "outputs"):
        text = text_of(section(html, name)).lower()
        assert not re.search(r"caus|lost without|take the activation", text), text
    tiles = verdict_top.Tiles(untested, "").all()
    assert [tile["value"] for tile in tiles[2:]] == ["–", "–"]
    assert [tile["baselines"] for tile in tiles[2:]] == ["not tested", "not tested"]


@pytest.mark.parametrize(("shares", "said"), [
    ((0.95, 0.9, 0.85), "3 of 3 literals take the activation at least 20 % of the way from “holds” to “fails”: "
                        "C0 empty, D1 theirs and E2 mine."),
    ((0.95, 0.02, None), "1 of 2 literals take the activation at least 20 % of the way from “holds” to “fails”: "
                         "C0 empty. Not shown for D1 theirs. No game can change E2 mine alone."),
    ((None, None, None), "No literal could be changed alone in legal games."),
])  # fmt: skip
def test_literals_are_named_by_what_was_shown_of_them(shares, said):
    found = verdict(fit(), rivals(), inputs(shares))
    assert verdict_inputs.inputs(found, found.inputs).startswith("In legal games" if shares[0] else said)
    assert said in verdict_inputs.inputs(found, found.inputs)


def negated():
    """A verdict on a rule that wants D2 not to be legal, with an edit and an upstream unit of that atom."""
    base = inputs()
    atom = {"literal": "D2 legal"}
    found = dataclasses.replace(
        base,
        toggles=(base.toggles[0], toggle("D2 legal", 0.9, becomes="D2 legal")),
        edits=(dataclasses.replace(base.edits[0], **atom, edit="D2 empty → mine", share=estimate(0.2)),),
        senders=(dataclasses.replace(base.senders[0], **atom),),
    )
    v = verdict(fit(), rivals(), found, outputs(), rule="C0 empty & !D2 legal")
    seen = tuple(dataclasses.replace(e, literals={"C0 empty": True, "D2 legal": False}) for e in v.fit.typical)
    return dataclasses.replace(v, fit=dataclasses.replace(v.fit, missed=(), false_alarms=(), typical=seen))


def test_a_negated_literal_is_written_as_in_the_rule():
    v = negated()
    html = verdict_html(v)
    text = text_of(html)
    for said in ("C0 empty and !D2 legal.", "Share of the way down when !D2 legal is lost (smallest of 2)",
                 "What it reads of !D2 legal is only partly along the probe’s direction",
                 "holds: C0 empty, !D2 legal"):  # fmt: skip
        assert said in text
    assert not re.findall(r"<th [^>]*>D2 legal</th>", html) and '">!D2 legal</th>' in html
    assert '<td class="text rule-text">!D2 legal</td>' in section(html, "inputs")  # the upstream unit's
    for label in re.findall(r'text-anchor="end">([^<]*D2 legal[^<]*)<', html):
        assert label.startswith("!")
    drawn = "".join(re.findall(r'data-example="[^"]*">.*?</svg>', html))
    marked = "".join(re.findall(r'class="fulfilled" d="([^"]*)"', drawn))
    assert squares_at(marked, r"M([\d.]+) ([\d.]+)h") == {"C0", "D2"}
    assert "D2 legal" not in [y for trace in verdict_plots.toggles_figure(v).data for y in trace.y]


def test_what_a_toggle_does_beside_a_better_rule_is_said():
    known = dataclasses.replace(
        inputs(), better="legal C0 via SE x1",
        toggles=(toggle("C0 empty", 0.9, screened=estimate(0.3), screened_pairs=41),
                 toggle("D1 theirs", 0.8, screened_pairs=7)),
    )  # fmt: skip
    v = verdict(fit(), rivals(), known, outputs())
    said = (
        "Where nothing of the better rule <legal C0 via SE x1> changes on other squares: C0 empty 30 % [28, 32] (41 "
        "pairs); D1 theirs not said, 7 pairs being too few."
    )
    assert said in verdict_inputs.inputs(v, known)
    told = "the better rule <legal C0 via SE x1> (its means lie farther apart than those of the rule tested) holds"
    assert told not in text_of(verdict_html(v))
    twice = tuple(dataclasses.replace(t, share=estimate(t.share.value / 2)) for t in known.toggles)
    assert told in unescape(
        text_of(verdict_html(dataclasses.replace(v, inputs=dataclasses.replace(known, toggles=twice))))
    )
    html = section(verdict_html(v), "inputs")
    assert 'data-path="inputs.toggles.0.screened.value"' in html and "pairs, screened" in html
    assert "screened" not in section(verdict_html(verdict_of(g.WRITES)), "inputs").lower()


def test_what_no_game_can_change_is_told_from_what_none_was_found_for():
    never = dataclasses.replace(toggle("ply >= 20", 0.9), share=None, change=None, possible=False, reason="same ply")
    rare = dataclasses.replace(toggle("C0 empty", 0.9), share=None, change=None, pairs=0, reason="none was found")
    asked = dataclasses.replace(inputs(), toggles=(toggle("D1 theirs", 0.9), never, rare))
    text = verdict_inputs.inputs(verdict(fit(), rivals(), asked), asked)
    assert "Could not be changed alone: C0 empty. No game can change ply >= 20 alone." in text
    assert verdict_inputs.why_not(never) == "no game can change it alone: same ply"
    assert verdict_inputs.why_not(rare) == "none was found"


def test_an_edit_that_does_as_much_as_the_games_is_not_called_partial():
    v = verdict_of(g.WRITES)  # 79 % edited, 90 % in games
    assert verdict_inputs.edits(v, v.inputs) == ""
    weak = dataclasses.replace(v.inputs, edits=(dataclasses.replace(v.inputs.edits[0], share=estimate(0.01)),))
    assert "D1 theirs is hardly along the probe’s direction: edited" in verdict_inputs.edits(v, weak)
    head = dataclasses.replace(v, kind="head")
    assert "direction at the ply that is read, the only one edited" in verdict_inputs.edits(head, weak)


def test_what_cannot_be_tested_is_said_once():
    v = dataclasses.replace(verdict_of(g.UNTESTABLE), summary=f"Cannot be tested: {verdict_of(g.UNTESTABLE).notes[0]}.")
    for text in (text_of(verdict_html(v).split("<body>")[1]), VerdictReport(v).text):
        assert text.count(v.notes[0]) == 1
        assert "was not measured" not in text and "–" not in text
    assert not re.findall(r'class="rule-part"|class="tile', verdict_html(v).split("<body>")[1])


@pytest.mark.parametrize(("source", "said"), [
    ("given", "Rule tested (given)"),
    ("found on the training games", "Rule tested (found by search on the training games)"),
])  # fmt: skip
def test_where_the_rule_comes_from_heads_it(source, said):
    v = dataclasses.replace(verdict_of(g.WRITES), source=source)
    assert said in verdict_html(v)
    assert f'<h2 id="h-rule">{said}</h2>' in neuron_page(dataclasses.replace(record_of("match"), verdict=v))


def test_what_the_number_is_stands_beside_the_first_figure_of_all_but_neurons():
    v = dataclasses.replace(verdict_of(g.PARTLY), kind="head", scalar="the output along a direction")
    assert "Activation of L5N1393 here: the output along a direction." in text_of(verdict_html(v).split("<main>")[0])
    assert "Activation of" not in verdict_html(verdict_of(g.PARTLY))


def test_lines_of_the_record_are_written_as_the_page_writes():
    assert w.tidy("moves -0.4 [-0.6, 2], p 2e-05; p 0.0123 (-3)") == "moves −0.4 [−0.6, 2], p < 0.001; p 0.012 (−3)"
    assert w.tidy("C0 mine @-1 & -C0, p below 0.05") == "C0 mine @-1 & -C0, p below 0.05"


def test_a_long_rule_is_abbreviated_with_all_of_it_as_title():
    long = " & ".join(f"A{i} empty" for i in range(8))
    cell = verdict_tables.rule(long)
    assert len(cell["short"]) <= 60 and cell["short"].endswith("…") and cell["full"] == long
    assert long.startswith(cell["short"][:-1]) and verdict_tables.rule("A0 empty") == "A0 empty"
    base = rivals()
    found = verdict(fit(), dataclasses.replace(base, rivals=(dataclasses.replace(base.rivals[0], rule=long),)))
    assert f'<abbr title="{long.replace("&", "&amp;")}">' in section(verdict_html(found), "rivals")


def test_a_large_share_without_a_small_p_moves_nothing():
    unsure = dataclasses.replace(inputs(), toggles=(toggle("C0 empty", 0.9, p_family=0.4),))
    found = verdict(fit(), rivals(), unsure)
    assert "0 of 1 literals" in verdict_inputs.inputs(found, unsure)
    assert "Not shown for C0 empty" in verdict_inputs.inputs(found, unsure)


def test_a_write_is_lost_only_where_its_check_says_so():
    for lost, words in (
        (1.4, "+C0 is lost without it where the rule holds: 1.40 [1.38, 1.42] logit"),
        (0.01, "+C0 is not shown to be lost without it where the rule holds, its interval holds 0: 0.010"),
        (-0.2, "+C0 is not lost without it where the rule holds: −0.200"),
        (0.1, "+C0 is lost without it where the rule holds, 0.100 [0.080, 0.120] logit (0.200 [0.180, 0.220] where it "
              "fails), but no more than with 2 of 20 controls."),
    ):  # fmt: skip
        found = verdict(fit(), rivals(), inputs(), outputs(lost=lost))
        assert verdict_writes.outputs(found, found.outputs).startswith(words)
    found = verdict(fit(), rivals(), inputs(), outputs(writes="untested"))
    assert "-L7N4 was not tested: it lies in the same layer." in verdict_writes.outputs(found, found.outputs)


def test_rivals_count_as_better_only_when_corrected_p_says_so():
    base = rivals()
    worse, better, unsure, little = (
        dataclasses.replace(base.rivals[0], better=estimate(d, 0.01), p_family=p, rule=name)
        for d, p, name in (
            (0.1, 0.001, "worse"),
            (-0.1, 0.001, "better"),
            (-0.1, 0.2, "unsure"),
            (-0.015, 0.001, "by little"),
        )
    )
    found = dataclasses.replace(base, rivals=(worse, better, unsure, little))
    assert [x.rule for x in w.significantly_better(found.rivals)] == ["better"]
    assert (
        "Of 4 other rules on the same positions, 1 explains significantly more of the variance, by over 2 points"
        in w.rivals(found, fit())
    )
    assert "none explains significantly more" in w.rivals(
        dataclasses.replace(base, rivals=(worse, unsure, little)), fit()
    )


def test_grades_below_a_causal_one_claim_no_cause():
    for grade in g.GRADES[: g.GRADES.index(g.PARTLY)]:
        assert not re.search(r"\bmoves?\b|caus|lost", w.MEANS[grade].replace("no literal of it was shown to move", ""))
    assert set(w.MEANS) == set(g.GRADES)
    groups = {check.group for grade in g.GRADES for check in verdict_of(grade).checks}
    assert groups == set(w.GROUPS)


def test_two_levels_worse_than_the_mean_are_said_to_be():
    assert "they predict worse than its mean does" in w.scores(verdict(fit(variance=-0.1)), fit(variance=-0.1))
    assert "worse" not in w.scores(verdict(fit()), fit())


def test_a_figure_and_its_interval_have_the_same_decimals():
    for value, half, said in ((1.4, 0.02, "1.40 [1.38, 1.42]"), (-0.0227, 0.1, "−0.023 [−0.123, 0.077]"),
                              (123.4, 2.0, "123 [121, 125]"), (0.0, 0.0, "0.00 [0.00, 0.00]")):  # fmt: skip
        assert w.measured(estimate(value, half)) == said


def test_the_four_figures_are_the_weakest_literal_and_the_largest_write():
    tiles = verdict_top.Tiles(verdict_of(g.WRITES), "verdict.").all()
    assert [t["path"] for t in tiles] == ["verdict.fit.f1.value", "verdict.fit.variance_explained.value",
                                          "verdict.inputs.toggles.2.share.value",
                                          "verdict.outputs.writes.0.total.value"]  # fmt: skip
    assert tiles[0]["baselines"] == "always on 0.10"
    assert "best of 200 random rules 1.2 %" in tiles[1]["baselines"] and "ply alone 3.1 %" in tiles[1]["baselines"]
    assert tiles[2]["label"] == "Share of the way down when E2 mine is lost (smallest of 3)"
    assert tiles[2]["baselines"] == "no literal changed 1 %"
    assert tiles[3]["baselines"] == "20 controls −0.100 … 0.120"
    unclaimed = verdict_top.Tiles(verdict_of(g.FITS), "").all()[3]
    assert unclaimed["path"] == "outputs.kl.value" and "no write is claimed" in unclaimed["label"]


# ---- boards --------------------------------------------------------------------------------------------------


def test_positions_are_those_of_an_independent_replay():
    played = [p for p in positions_of(1, 60) if p["ply"] in (6, 23, 40, 53)][:40]
    examples = [Example("", tuple(p["transcript"].split()), p["ply"], 0.0, True, {}) for p in played]
    for p, found in zip(played, rule_positions.positions(examples), strict=True):
        assert found.mine == tuple(s for s in range(64) if p["state"][s] == 2)
        assert found.theirs == tuple(s for s in range(64) if p["state"][s] == 1)
        assert (LABELS[found.last], found.mover) == (p["last"], p["mover"])
        assert {LABELS[s] for s in found.flipped} == set(p["flipped"])


def squares_at(svg, pattern):
    """The squares in which the points that a pattern finds lie."""
    points = [(float(x), float(y)) for x, y in re.findall(pattern, svg)]
    places = {LABELS[s]: corner(s) for s in range(64)}
    return {name for name, (x, y) in places.items() for a, b in points if x <= a < x + 10 and y <= b < y + 10}


def test_examples_are_drawn_with_the_rules_squares_marked():
    v = verdict_of(g.WRITES)
    html = verdict_html(v)
    for name in ("missed", "false_alarms", "typical"):
        for i, e in enumerate(getattr(v.fit, name)):
            svg = re.search(rf'<svg[^>]*data-example="fit\.{name}\.{i}">.*?</svg>', html)[0]
            (p,) = rule_positions.positions([e])
            for kind, squares in (("mine", p.mine), ("theirs", p.theirs)):
                d = re.search(rf'class="disc {kind}" d="([^"]*)"', svg)[1]
                assert squares_at(d, r"M(\d+) (\d+)h0") == {LABELS[s] for s in squares}
            for kind, value in (("fulfilled", True), ("unmet", False)):
                framed = "".join(re.findall(rf'class="{kind}" d="([^"]*)"', svg))
                marked = squares_at(framed, r"M([\d.]+) ([\d.]+)h")
                assert marked == {name.split()[0] for name, held in e.literals.items() if held == value}


@pytest.mark.parametrize("name", LITERALS)
def test_every_literal_has_a_mark_on_its_square_and_in_the_key(name):
    drawn = rule_boards.rule_board(parse_rule(f"F5 {name}"))
    x, y = corner(LABELS.index("F5"))
    inside = [(float(a), float(b)) for a, b in re.findall(r'(?:M|c?x=")([\d.]+)(?: |" c?y=")([\d.]+)', drawn.svg)]
    assert any(x <= a < x + 10 and y <= b < y + 10 for a, b in inside)
    assert [words for _, words in drawn.key] == [rule_boards.MARKS[name]]
    assert not drawn.beside
    others = {str(rule_boards.rule_board(parse_rule(f"F5 {other}")).svg).split("aria-label")[1].split(">", 1)[1]
              for other in LITERALS}  # fmt: skip
    assert len(others) == len(LITERALS)  # no two look alike


def test_not_or_and_earlier_plies_are_drawn_and_counts_written_out():
    rule = "!C0 mine & (D1 theirs | D2 theirs) & B4 occupied @-2 & ply >= 20 & !black to move"
    drawn = rule_boards.rule_board(parse_rule(rule))
    names = [words for _, words in drawn.key]
    for mark in ("mine", "theirs", "occupied", "not", "or", "back"):
        assert rule_boards.MARKS[mark] in names
    assert squares_at(drawn.svg, r'class="or" x="([\d.]+)" y="([\d.]+)"') == {"D1", "D2"}
    assert squares_at(drawn.svg, r'class="barred" d="M([\d.]+) ([\d.]+)') == {"C0"}
    assert "−2</text>" in drawn.svg
    assert set(drawn.beside) == {"ply >= 20", "white to move"}


def test_not_is_carried_to_the_atoms():
    asked = list(rule_boards.facts(~((sq.C0.mine & sq.D1.mine) | ~sq.E2.empty)))
    assert {(str(f.atom), f.holds, f.alternative) for f in asked} == {
        ("C0 mine", False, True), ("D1 mine", False, True), ("E2 empty", True, False)
    }  # fmt: skip
    assert rule_boards.MARKS["occupied"] in [k for _, k in rule_boards.rule_board(~sq.E2.empty).key]


def test_a_pattern_is_drawn_as_its_line():
    drawn = rule_boards.rule_board(parse_rule("legal C0 via SE x2"))
    theirs = re.search(r'class="disc theirs" d="([^"]*)"', drawn.svg)[1]
    mine = re.search(r'class="disc mine" d="([^"]*)"', drawn.svg)[1]
    assert squares_at(theirs, r"M(\d+) (\d+)h0") == {"D1", "E2"}
    assert squares_at(mine, r"M(\d+) (\d+)h0") == {"F3"}
    assert rule_positions.squares_named("legal C0 via SE x2") == [LABELS.index(s) for s in ("C0", "D1", "E2", "F3")]
    assert rule_positions.squares_named("C0 mine @-1") == rule_positions.squares_named("ply >= 20") == []


def test_what_is_claimed_to_be_written_is_drawn():
    drawn = rule_boards.effects_board(parse_claim("A4 played => B4 theirs, -C0, +D2, -L2N3").effects)
    assert {words for _, words in drawn.key} == {rule_boards.MARKS[k] for k in ("theirs", "+", "-")}
    assert drawn.beside == ("L2N3 inhibited",)
    signs = {d: squares_at(f"M{d}", r"M([\d.]+) ([\d.]+)") for d in re.findall(r'class="sign" d="M([^"]*)"', drawn.svg)}
    assert {frozenset(v) for v in signs.values()} == {frozenset({"C0"}), frozenset({"D2"})}
    assert rule_boards.effects_board(parse_claim("A4 played => -L2N3").effects) is None


# ---- charts and tables ---------------------------------------------------------------------------------------


def test_a_rival_has_its_stroke_at_its_place_in_the_row_of_its_kind():
    r, f = rivals(), fit()
    svg = str(verdict_charts.rivals(r, f))
    zero, at_20 = (float(re.search(rf'x="([\d.]+)" y="[\d.]+" text-anchor="middle">{n} %<', svg)[1]) for n in (0, 20))
    place = lambda value: zero + (at_20 - zero) * value / 0.2  # noqa: E731
    rows = re.findall(r'class="cloud" d="([^"]*)"', svg)
    kinds = [k for k in w.KINDS if any(x.kind == k for x in r.rivals)]
    assert len(rows) == len(kinds) + 1
    for kind, row in zip(kinds, rows, strict=False):
        drawn = [float(x) for x in re.findall(r"M([\d.]+) ", row)]
        expected = sorted({round(place(x.variance_explained), 1) for x in r.rivals if x.kind == kind})
        assert all(min(abs(x - y) for y in drawn) < 0.3 for x in expected)
        assert all(min(abs(x - y) for y in expected) < 0.3 for x in drawn)
    assert float(re.search(r'class="dot" cx="([\d.]+)"', svg)[1]) == pytest.approx(place(0.8), abs=0.2)


def test_strokes_and_the_line_beside_stay_inside_the_axis():
    svg = str(dots("t", [("a", [Dot(0.1, None, None, False, "x")])], "x", "w", True, {0: [-0.5, 2.0]}, 3.0))
    xs = [float(x) for x in re.findall(r'class="(?:cloud|base)" d="M([\d.]+)', svg)]
    xs += [float(x) for x in re.findall(r"M([\d.]+) [\d.]+v12", svg)]
    assert all(138 <= x <= 432 for x in xs) and len(set(xs)) == 3


def test_the_best_of_each_kind_are_listed_and_the_rest_can_be_unfolded():
    v = verdict_of(g.WRITES)
    best = verdict_tables.best_rivals(v, verdict_tables.Cells())
    for kind in w.KINDS:
        found = sorted((x for x in v.rivals.rivals if x.kind == kind), key=lambda x: -x.variance_explained)[:3]
        shown = [row for row in best.rows if row[0] in {x.rule for x in found}]
        assert {row[0]: row[3]["exact"] for row in shown} == {x.rule: f"{x.variance_explained:.4g}" for x in found}
        assert [row[0] for row in shown] == [x.rule for x in found]
    everything = verdict_tables.all_rivals(v)
    assert len(everything.rows) == verdict_tables.ALL < len(v.rivals.rivals)
    assert f"The best {verdict_tables.ALL} of {len(v.rivals.rivals)} rivals" in verdict_html(v)


@pytest.mark.parametrize(("kind", "what", "said"), [
    ("without a literal", "without C0 empty", "without C0 empty"),
    ("translation", "shifted by 1 row", "shifted by 1 row"),
    ("neighbour", "C0 mine for C0 empty", "one literal changed: C0 mine for C0 empty"),
    ("unheard of", "", "unheard of"),
])  # fmt: skip
def test_a_rival_is_described_without_saying_one_word_twice(kind, what, said):
    assert w.kind_words(dataclasses.replace(rivals().rivals[0], kind=kind, what=what)) == said


def test_notes_become_sentences():
    assert w.sentences(("pairs of legal games", "+C0: logit", "", "Done.")) == "Pairs of legal games. +C0: logit. Done."


def test_what_vanishes_beside_the_other_end_is_zero():
    assert verdict_tables.span((1.8e-7, 9.4e-5)) == "0 … 0.000094"
    assert verdict_tables.span((-0.1, 0.12)) == "−0.100 … 0.120"
    assert verdict_tables.span(()) == "–"


def test_a_reading_has_its_loss_at_every_later_point():
    v = verdict_of(g.WRITES)
    losses = {"blocks.5.hook_resid_post": 0.21, "blocks.6.hook_resid_post": -0.02}
    write = dataclasses.replace(v.outputs.writes[0], by_point=losses)
    v = dataclasses.replace(v, outputs=dataclasses.replace(v.outputs, writes=(write,)))
    assert verdict_tables.by_point(v).rows == [("+C0", "L5", "+0.21"), ("+C0", "L6", "−0.02")]
    assert "<td>L5</td><td>+0.21</td>" in section(verdict_html(v), "outputs")


def test_a_reason_stands_where_a_figure_would():
    html = verdict_html(verdict_of(g.PARTLY))
    for said in ("no legal game differs so", "the board probe reads no such fact", "it lies in the same layer"):
        assert said in text_of(html)


# ---- a unit's page -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grade", [g.UNTESTABLE, g.PARTLY, g.WRITES])
def test_a_neurons_page_has_a_section_and_checks_it(grade):
    v = verdict_of(grade)
    record = dataclasses.replace(record_of("match"), verdict=v)
    assert NeuronRecord.from_json(record.to_json()) == record
    html = neuron_page(record, links={"L2N17": "L2N17.html"})
    check_page(html, record)
    heard(html)
    order = re.findall(r'<section id="(\w+)"', html)
    assert order == ["reads", "fires", "writes", "without", "rule", "neighbours", "provenance"]
    parts = () if grade == g.UNTESTABLE else SECTIONS
    assert re.findall(r'id="rule-(\w+)"', html) == [*parts, "origin"]
    assert all(at(record, p.replace("[", ".").replace("]", "")) is not None or "verdict" in p
               for p in re.findall(r"\.record\.([\w.\[\]]+)</code>", html))  # fmt: skip
    if v.inputs is not None and v.inputs.senders:
        assert '<a href="L2N17.html">L2N17</a>' in html
    plain = neuron_page(record_of("match"))
    assert 'id="rule"' not in plain and "rule-part" not in plain


def test_a_units_page_shows_fewer_examples_and_rivals_than_a_page_of_its_own():
    v = verdict_of(g.WRITES)
    html, own = neuron_page(dataclasses.replace(record_of("match"), verdict=v)), verdict_html(v)
    assert html.count("data-example=") == 3 * 4 < own.count("data-example=") == 3 * 6
    assert "rivals, and code" in own and "rivals, and code" not in html
    assert len(html.encode()) - len(neuron_page(record_of("match")).encode()) < 90_000


def test_a_wrong_figure_in_the_section_is_caught():
    record = dataclasses.replace(record_of("match"), verdict=verdict_of(g.WRITES))
    html = neuron_page(record)
    wrong = re.sub(r'(data-path="verdict.inputs.toggles.1.share.value" data-v=")[^"]+', r"\g<1>0.11", html)
    assert wrong != html
    with pytest.raises(PageError, match=r"verdict\.inputs\.toggles\.1\.share"):
        check_page(wrong, record)


def test_a_heads_page_has_a_section_and_checks_it():
    record = dataclasses.replace(head_of("clear"), verdict=dataclasses.replace(verdict_of(g.PARTLY), kind="head"))
    assert HeadRecord.from_json(record.to_json()) == record
    html = head_page(record)
    check_head_page(html, record)
    heard(html)
    assert re.findall(r'<section id="(\w+)"', html)[-3:] == ["rule", "neighbours", "provenance"]
    assert 'id="rule"' not in head_page(head_of("clear"))


def test_neighbours_are_shown_with_their_best_facts():
    table = neuron_page(record_of("match")).split('id="neighbours"')[1].split("<figcaption>")[0]
    row = re.search(r"<tr><td>L4N700</td>.*?</tr>", table)[0]
    assert ">legal C0 via SE x1</td><td>0.73<" in row
    assert table.count('<td class="text">–</td><td>–</td>') == 3


# ---- the object ----------------------------------------------------------------------------------------------


def test_a_report_shows_and_saves_itself(tmp_path, v):
    report = VerdictReport(v)
    assert report.save(tmp_path / "a" / "verdict.html").read_text() == report.html
    assert report._repr_html_().startswith("<iframe srcdoc=")
    assert repr(report) == f"L5N1393: {v.claim} [{v.grade}]"
    assert Verdict.from_json(v.to_json()) == v
    for line in (v.grade.upper(), v.summary, *v.missing, *(f"{c.name}: {w.tidy(c.figure)}" for c in v.checks)):
        assert line in report.text


def test_the_rule_drawn_is_the_rule_tested(v):
    first = verdict_top.boards(v)[0]["drawn"]
    assert {words for _, words in first.key} == {rule_boards.MARKS[k] for k in ("mine", "theirs", "empty")}
    assert RULE.replace("&", "&amp;") in first.svg


def test_plotly_figures_carry_the_records_numbers():
    v = verdict_of(g.WRITES)
    assert sum(verdict_plots.fit_figure(v).data[0].y) == sum(v.fit.counts)
    assert sum(verdict_plots.fit_figure(v).data[1].y) == v.fit.positives
    drawn = [x for trace in verdict_plots.rivals_figure(v).data for x in trace.x]
    expected = [x.variance_explained for x in v.rivals.rivals] + [*v.rivals.random.variance_explained, 0.8]
    assert sorted(drawn) == sorted(expected)
    toggles = verdict_plots.toggles_figure(v).data
    assert [t.share.value for t in v.inputs.toggles] == list(toggles[0].x)
    assert list(toggles[0].error_x.array) == pytest.approx([0.04] * 3)
    for draw, part in ((verdict_plots.fit_figure, "fit"), (verdict_plots.rivals_figure, "rivals"),
                       (verdict_plots.toggles_figure, "inputs")):  # fmt: skip
        with pytest.raises(InputError, match=f"no {part}: C0 empty & C0 mine can never both hold"):
            draw(verdict_of(g.UNTESTABLE))
