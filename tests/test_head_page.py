"""A head's page: true to its record, which is true to the study; sentences and grades follow the numbers."""

import dataclasses
import itertools
import json
import re
from functools import cache
from html import unescape
from pathlib import Path

import pytest
import torch
from synthetic_head import effect, head_of
from synthetic_record import record_of, synthetic_index
from test_pages import Outline

from circuits.activations import points
from circuits.errors import InputError
from circuits.games import Address, generate
from circuits.head_sources import CATEGORIES, FACTS
from circuits.notation import LABELS, PLAYABLE, Unit
from circuits.serial import at
from circuits.weights import heads_to_head, heads_to_neuron, neuron_to_heads
from probes.linear import LinearProbe
from probes.sets import ProbeSet
from reports import open_model
from reports.checks import PageError, check_record
from reports.heads import build as head_build
from reports.heads import charts as head_charts
from reports.heads import sentences as head_sentences
from reports.heads import words as head_words
from reports.heads.checks import check_head_page, recompute, sampled_paths
from reports.heads.neighbours import neighbours
from reports.heads.page import HeadReport, head_page
from reports.heads.records import HeadRecord
from reports.heads.view import on_kl_scale
from reports.heads.words import CLEAR, IDLE, NONE, PART, headline
from reports.index_records import IndexRecord
from reports.site import head_entry, index_page, write_site
from reports.site_build import build_site

KINDS = ("clear", "idle", "none")
TINY = Path(__file__).parent / "assets" / "tiny.safetensors"


@pytest.fixture(scope="module")
def tiny_files(tiny, tmp_path_factory):
    """The tiny model with probes drawn at random: what a page shows must equal its record whatever they read."""
    generator, path = torch.Generator().manual_seed(3), tmp_path_factory.mktemp("random") / "random.probes.safetensors"
    found = [
        LinearProbe(torch.randn(tiny.shape.d_model, 64, n, generator=generator),
                    torch.randn(64, n, generator=generator), task, hook, model_hash=tiny.hash)
        for hook in points(tiny.shape)
        for task, n in (("board", 3), ("flipped", 2), ("played", 2), ("legal", 2))
    ]  # fmt: skip
    ProbeSet(tuple(found), {"made": "at random"}).save(path)
    return {"model": TINY, "probe": path}


@pytest.fixture(scope="module")
def bench(tiny_files):
    return open_model(tiny_files["model"], tiny_files["probe"], games=80, cache=False)


@cache
def page_of(kind):
    return head_page(head_of(kind))


@pytest.fixture(scope="module", params=KINDS)
def record(request):
    return head_of(request.param)


@pytest.fixture(scope="module")
def html(record):
    return page_of(next(kind for kind in KINDS if head_of(kind) is record))


# ---- the page and its record ---------------------------------------------------------------------------------


def test_a_page_is_small_and_passes_its_own_check(record, html):
    assert len(html.encode()) <= 400_000
    assert check_head_page(html, record) > 64 * 10 + 1000


def test_a_page_asks_nothing_of_anyone(html):
    outline = Outline(html)
    assert not outline.all("script")
    assert not re.findall(r"https?://|url\(|@import", html)
    assert "Content-Security-Policy" in html
    for tag, attrs in outline.tags:
        for name in ("src", "srcset", "data", "action", "href", "xlink:href"):
            value = attrs.get(name)
            assert value is None or value.startswith(("#", "data:,")), (tag, name, value)
        assert not any(name.startswith("on") for name in attrs)


def test_a_page_can_be_heard(html):
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


def test_sections_come_in_their_order(html):
    order = re.findall(r'<section id="(\w+)"', html)
    assert order == ["attends", "writes", "alone", "without", "neighbours", "provenance"]


def test_every_figure_has_a_caption_and_a_path_of_the_record(record, html):
    figures = re.split(r"<figure[^>]*>", html)[1:]
    assert len(figures) >= 15
    for figure in figures:
        figure = figure.split("</figure>")[0]
        assert "<figcaption>" in figure
        paths = re.findall(r"open_model\(\)\.head\(&#34;L5H2&#34;\)\.record\.([\w.\[\]]+)</code>", figure)
        assert len(paths) == 1
        at(record, paths[0].replace("[", ".").replace("]", ""))


def test_names_reach_a_page_as_text():
    evil = '<script>alert("x")</script>'
    r = head_of("clear")
    changed = dataclasses.replace(
        r,
        chosen=evil,
        provenance=dataclasses.replace(r.provenance, model_name=evil, games_source=evil, command=evil, python=evil),
        examples=(dataclasses.replace(r.examples[0], note=evil), *r.examples[1:]),
        attention=dataclasses.replace(
            r.attention, groups=tuple(dataclasses.replace(g, words=evil, name=evil) for g in r.attention.groups)
        ),
        reading=dataclasses.replace(r.reading, method=evil),
        neighbours=tuple(dataclasses.replace(c, measure=evil, name=evil, via=evil) for c in r.neighbours),
        causes=dataclasses.replace(
            r.causes, methods=tuple(dataclasses.replace(m, words=evil) for m in r.causes.methods)
        ),
    )
    page = head_page(changed, index_link='" onclick="x', json_link=evil)
    index = dataclasses.replace(synthetic_index([record_of("match")]), entries=(), heads=(head_entry(changed),))
    for html in (page, index_page(index)):
        outline = Outline(html)
        assert not outline.all("script")
        assert not any(name.startswith("on") for _, attrs in outline.tags for name in attrs)
        assert "&lt;script&gt;" in html
    assert [tag for tag, _ in Outline(HeadReport(changed)._repr_html_()).tags] == ["iframe"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda h: h.replace("<title>C0 ", "<title>C1 "), "C1"),
        (lambda h: re.sub(r'(class="headline" data-headline>)[^<]*', r"\1Does everything.", h), "headline"),
        (lambda h: re.sub(r"(data-grade>.*?</svg>)[^<]+", r"\1Proven", h, flags=re.S), "grade"),
        (lambda h: re.sub(r'(data-path="causes.methods.0.kl.mean" data-v=")[^"]+', r"\g<1>0.99", h), "0.99"),
        (lambda h: re.sub(r'class="disc mine" d="M\d+ \d+h0', 'class="disc mine" d="M14 13h0', h), "mine"),
        (lambda h: re.sub(r'<use href="#last"[^>]*>', "", h), "last"),
        (lambda h: h.replace('data-board="writes.legal"', ""), "no board"),
        (lambda h: h.replace('data-map="attention.by_ply"', ""), "no map"),
        (lambda h: re.sub(r'(data-map="attention.by_ply".*?fill-opacity=")[^"]+', r"\g<1>0.9", h, flags=re.S), "ply"),
        (lambda h: re.sub(r'(data-map="attention.displacement".*?class=")n(?=" f)', r"\g<1>p", h, flags=re.S), "dis"),
        (lambda h: re.sub(r'(data-attention="examples.0.positions.0".*?<title>\w\w )[^<]+', r"\g<1>0.5", h, flags=re.S),
         "examples.0.positions.0"),
    ],
)  # fmt: skip
def test_a_page_that_was_tampered_with_is_caught(change, named):
    record, html = head_of("clear"), page_of("clear")
    changed = change(html)
    assert changed != html
    with pytest.raises(PageError, match=named):
        check_head_page(changed, record)


def swapped(record, path, a, b):
    """The record with two cells of a board exchanged: what a mistake in placing squares looks like."""
    steps = path.split(".")

    def put(node, steps):
        if not steps:
            values = list(node)
            values[a], values[b] = values[b], values[a]
            return tuple(values)
        if isinstance(node, tuple):
            i = int(steps[0])
            return (*node[:i], put(node[i], steps[1:]), *node[i + 1 :])
        return dataclasses.replace(node, **{steps[0]: put(getattr(node, steps[0]), steps[1:])})

    return put(record, steps)


@pytest.mark.parametrize(
    "path",
    ["attention.displacement", "attention.source", "moves.facts.1.around", "writes.legal", "attention.by_ply.3",
     "examples.1.positions.0.pattern"],
)  # fmt: skip
def test_every_board_and_map_is_checked(path):
    record = head_of("clear")
    other = swapped(record, path, 1, 5 if "by_ply" in path or "pattern" in path else 62)
    with pytest.raises(PageError, match=path.rsplit(".", 1)[0]):
        check_head_page(head_page(other), record)


def test_a_record_survives_json_and_refuses_what_is_no_head():
    record = head_of("clear")
    assert HeadRecord.from_json(record.to_json()) == record
    with pytest.raises(InputError, match="not head 2 of layer 4"):
        dataclasses.replace(record, layer=4)
    with pytest.raises(InputError, match="L5N2"):
        dataclasses.replace(record, unit="L5N2")
    first = record.examples[0].positions[0]
    with pytest.raises(InputError, match="attended to"):
        dataclasses.replace(first, pattern=first.pattern[1:])


def test_missing_parts_leave_a_page_that_says_so():
    record = head_of("clear")
    bare = dataclasses.replace(
        record, causes=None, checks=(), moves=dataclasses.replace(record.moves, facts=(), links=(), link_board=None)
    )
    html = head_page(bare)
    check_head_page(html, bare)
    assert "Not measured: the head was not ablated" in html
    assert headline(bare).grade == PART  # what it attends to and writes, and nothing of what it does
    assert "not ablated" in headline(bare).why


# ---- words -----------------------------------------------------------------------------------------------------


def test_each_kind_gets_its_grade_and_a_sentence_its_numbers_support():
    assert [headline(head_of(kind)).grade for kind in KINDS] == [CLEAR, IDLE, NONE]
    clear = headline(head_of("clear")).sentence
    assert clear.startswith(
        "Attends to moves of the side to move (90\u00a0% of its attention; uniform would be 49\u00a0%)"
    )
    assert "hands on the colours it reads there, as they are (weights: cosine +0.60" in clear
    assert "without it, 3.9 more of 100 squares of mine are misread" in clear
    idle = headline(head_of("idle")).sentence
    assert idle.startswith("Attends to the first move of the game") and "hardly matters" in idle
    none = headline(head_of("none")).sentence
    assert none.startswith("Attends to no one kind of move") and "writes little" in none


def changed_effects(record, kl=None, share=None, kind=None):
    if kl is not None:
        methods = (dataclasses.replace(record.causes.methods[0], kl=kl), *record.causes.methods[1:])
        record = dataclasses.replace(record, causes=dataclasses.replace(record.causes, methods=methods))
    if share is not None:
        facts = tuple(dataclasses.replace(f, share=share) for f in record.writes.facts)
        record = dataclasses.replace(record, writes=dataclasses.replace(record.writes, facts=facts))
    if kind is not None:
        kind = dataclasses.replace(record.attention.kind, share=kind)
        record = dataclasses.replace(record, attention=dataclasses.replace(record.attention, kind=kind))
    return record


@pytest.mark.parametrize(
    ("change", "test"),
    [
        ({"kl": effect(0.02, 0.006)}, "matters"),  # above its control's mean, not above its control's interval
        ({"kl": effect(0.0011, 0.0001)}, "matters"),  # below KL_AT with its lower end
        ({"share": effect(0.021, 0.001)}, "writes"),
        ({"kind": effect(0.76, 0.01)}, "attends"),
    ],
)
def test_a_threshold_has_to_be_reached_by_the_whole_interval(change, test):
    record = head_of("clear")
    assert getattr(head_words, test)(record)
    less = changed_effects(record, **change)
    assert not getattr(head_words, test)(less)
    assert headline(less).grade == PART


def without_of(record, method, states, kl=None):
    """The record with other squares lost where it writes, and perhaps another KL, under one ablation."""
    i, old = next((i, m) for i, m in enumerate(record.causes.methods) if m.method == method)
    new = dataclasses.replace(old, board=(dataclasses.replace(old.board[0], **states), *old.board[1:]), kl=kl or old.kl)
    methods = (*record.causes.methods[:i], new, *record.causes.methods[i + 1 :])
    return dataclasses.replace(record, causes=dataclasses.replace(record.causes, methods=methods))


def attention_of(record, **changes):
    return dataclasses.replace(record, attention=dataclasses.replace(record.attention, **changes))


def test_a_loss_is_named_only_where_the_control_loses_less():
    record = head_of("clear")
    same = {s: getattr(record.causes.method("mean").board[0], s) for s in ("empty", "theirs", "mine")}
    told = headline(without_of(record, "random direction", same)).sentence
    assert "misread" not in told and told.endswith(
        "without it the prediction moves by 0.02 nats (the same change turned at random: 0.01)."
    )
    only_mine = without_of(record, "random direction", same | {"theirs": effect(0.0)})
    assert "more of 100 squares of theirs are misread" in headline(only_mine).sentence


def test_a_head_that_mostly_looks_at_one_distance_has_it_named():
    a = head_of("clear").attention
    back = tuple(0.98 if k == 3 else 0.0 for k in a.offsets)
    told = headline(attention_of(head_of("clear"), by_offset=back)).sentence
    assert told.startswith("Attends to the position 3 moves back (98\u00a0% of its attention; uniform would be 4.9")


def test_a_distance_that_few_plies_have_is_not_the_one_attended_to_most():
    record = head_of("clear")
    far = attention_of(record, by_offset=tuple(1.0 if k == 53 else 0.02 * (k == 1) for k in record.attention.offsets))
    assert far.attention.best_offset == 1
    assert "The move attended to most is the one before the last" in head_sentences.attention(far)
    assert head_sentences.attention(head_of("idle")).endswith("The move attended to most is the first.")


def test_maps_by_square_of_a_head_that_the_ply_decides_come_with_a_warning():
    record, warning = head_of("clear"), "not a preference for squares"
    assert not head_sentences.places(record) and warning not in page_of("clear")
    one = tuple(0.9 * (k == 1) for k in record.attention.offsets)
    for changes, words in (
        ({"unexplained": 0.05, "by_offset": one}, "It looks by distance alone; "),
        ({"distance": effect(0.04)}, "It looks by ply alone; "),
        ({"unexplained": 0.05, "kind": head_of("idle").attention.kind}, "It looks at the first move, "),
    ):
        html = head_page(attention_of(record, **changes))
        before = html[: html.index("By place, relative")]
        assert words in before and warning in before[before.index("By how long ago") :]
        assert '<div class="map"><div class="faint">' in html


def test_what_is_next_to_nothing_is_drawn_faint_and_said_to_be():
    assert head_words.faint(head_of("clear")) == head_words.faint(head_of("none")) == ""
    assert 'class="faint"' not in page_of("clear")
    little = dataclasses.replace(head_of("clear"), writes=dataclasses.replace(head_of("clear").writes, norm=1.9))
    index = dataclasses.replace(synthetic_index([record_of("match")]), entries=())
    for record, because in ((little, "next to nothing"), (head_of("idle"), IDLE)):
        for html in (head_page(record), index_page(dataclasses.replace(index, heads=(head_entry(record),)))):
            assert 'class="faint"' in html and because in html
    assert 'class="faint"' not in index_page(dataclasses.replace(index, heads=(head_entry(head_of("clear")),)))


def test_a_kl_lost_in_rounding_is_written_as_such_and_without_interval():
    html = head_page(without_of(head_of("idle"), "mean", {}, kl=effect(1e-8, 1e-9)))
    shown = re.findall(r'data-path="causes.methods.0.kl.mean"[^>]*>([^<]*)</span> <small>([^<]*)</small>', html)
    assert shown == [("&lt;\u00a01e−6", "")] * 2  # the tile and the table
    shown = re.sub(r'data-v="[^"]*"|<pre>.*?</pre>', "", html, flags=re.S)  # the raw numbers stay as they are
    assert "moves by &lt;\u00a01e−6 nats" in shown and "e-08" not in shown


def test_the_kl_bar_is_on_one_scale_for_all_heads():
    assert [on_kl_scale(v) for v in (0.0, 1e-9, 1e-6, 1e-3, 1.0)] == pytest.approx([0, 0, 0, 0.5, 1])


def test_a_reading_worse_than_guessing_is_called_so():
    record = head_of("clear")
    low = dataclasses.replace(record, reading=dataclasses.replace(record.reading, accuracy=effect(0.55, 0.001)))
    assert "fewer than by guessing" in head_sentences.reading(low) and "below guessing; " in head_page(low)
    assert "guessing:" not in head_sentences.reading(record) and "below guessing" not in page_of("clear")


def test_no_line_breaks_inside_a_number_or_an_interval():
    assert head_words.unbroken("a 12 % [−0.5, +0.1] < 0.1 % 3–4 %") == (
        "a 12\u00a0% [−0.5,\u00a0+0.1] <\u00a00.1\u00a0% 3\u2060–\u20604\u00a0%"
    )


def test_levels_are_symmetric_and_bounded():
    assert [head_charts.level(v, 2.0) for v in (0.0, 0.01, 1.0, -1.0, 5.0, -5.0)] == [0, 0, 10, -10, 20, -20]


# ---- from a study to records ---------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["L0H1", "L2H3"])
def built(bench, request):
    return bench.head(request.param)


def test_the_record_has_the_studys_numbers(bench, built):
    r, study = built.record, bench.heads
    at_ = r.layer, r.index
    for g in r.attention.groups:
        assert g.attention.mean == pytest.approx(float(study.attention.to[at_][CATEGORIES.index(g.name), 0]))
        assert g.uniform == pytest.approx(float(study.attention.uniform[CATEGORIES.index(g.name)]))
    sides = {g.name: g.attention.mean for g in r.attention.groups}
    assert sides["itself"] + sides["mine"] + sides["theirs"] == pytest.approx(1, abs=1e-4)
    for f in r.writes.facts:
        i = FACTS.index(f.fact)
        assert f.share is None or f.share.mean == pytest.approx(float(study.writing.separation_share[at_][i, 0]))
        assert f.board[20] == pytest.approx(float(study.writing.separation[at_][i, 20]), rel=1e-4)
    mean = r.causes.method("mean")
    assert mean.board[0].point == f"blocks.{r.layer}.hook_resid_mid"
    assert len(mean.board) == 1 + bench.model.shape.n_layers - r.layer
    m = study.ablations["mean"]
    assert mean.board[-1].mine.mean == pytest.approx(float(study.ablations.board[m][at_][-1, 2, 0]))
    assert r.causes.base[-1].all == pytest.approx(float(study.ablations.board_base[m][-1, 3]))
    assert r.causes.base[0].all == pytest.approx(float(study.ablations.board_base[m][2 * r.layer, 3]))
    assert r.reading.accuracy.mean == pytest.approx(float(study.reading.accuracy[at_][0]))
    assert check_head_page(built.html, r)


def test_examples_show_the_position_of_their_address_and_are_held_out(bench, built):
    r = built.record
    held_out = {bench.head_games[1].address(i, 0).game for i in range(len(bench.head_games[1]))}
    for e in (e for x in r.examples for e in x.positions):
        address = Address.parse(e.address)
        row, ply = bench.games.locate(address)
        game = bench.games[row]
        assert address.game in held_out and 5 <= ply <= 53
        assert e.transcript.split() == [LABELS[PLAYABLE[t - 1]] for t in game.tokens[0, : ply + 1].tolist()]
        hook = f"blocks.{r.layer}.attn.hook_pattern"
        pattern = bench.model.run(game.inputs, save=[hook])[1][hook][0, r.index, ply, : ply + 1]
        torch.testing.assert_close(torch.tensor(e.pattern), pattern, atol=1e-5, rtol=1e-3)
        assert e.itself + e.mine + e.theirs == pytest.approx(1, abs=1e-4)
    distances = [e.distance for e in r.examples[0].positions]
    assert distances == sorted(distances, reverse=True)


def test_around_is_the_mean_over_sources_by_displacement(bench):
    ov = bench.heads.writing.ov[0, 1, 0]
    found = head_build.around(ov)
    for down, right in ((0, 0), (1, 2), (-7, 0), (3, -5)):
        pairs = [
            ov[8 * r + c, 8 * (r + down) + c + right]
            for r in range(8)
            for c in range(8)
            if 0 <= r + down < 8 and 0 <= c + right < 8
        ]
        expected = torch.stack(pairs).double().nanmean()
        assert float(found[(down + 7) * 15 + right + 7]) == pytest.approx(float(expected), rel=1e-4, abs=1e-6)


def test_neighbours_are_the_strongest_of_the_slow_compositions(bench):
    model, unit = bench.model, Unit(1, "head", 2)
    found = {(c.name, c.via): c for c in neighbours(model, unit, 0)}
    for via in ("V", "Q", "K"):
        values = heads_to_head(model, unit, via)
        best = found["earlier heads", via].units[0]
        assert best.value == pytest.approx(float(values.max()), rel=1e-4)
        assert best.unit == f"L{int(values.argmax()) // 4}H{int(values.argmax()) % 4}"
        later = torch.tensor([float(heads_to_head(model, Unit(2, "head", h), via)[1, 2]) for h in range(4)])
        assert found["later heads", via].units[0].value == pytest.approx(float(later.max()), rel=1e-4)
    best = found["later neurons", "input weight"].units[0]
    from circuits.notation import parse_unit

    assert best.value == pytest.approx(float(heads_to_neuron(model, parse_unit(best.unit))[1, 2]), rel=1e-4)
    best = found["earlier neurons", "output weight"].units[0]
    assert best.value == pytest.approx(float(neuron_to_heads(model, parse_unit(best.unit))[0, 2]), rel=1e-4)


def test_checks_cover_patterns_weights_and_an_ablation(built):
    paths = [c.path for c in built.record.checks]
    for start in ("examples.0.positions.0.pattern", "examples.0.positions.0.mine", "moves.link_board", "neighbours.",
                  "causes.example.kl"):  # fmt: skip
        assert any(p.startswith(start) for p in paths), start


def test_a_wrong_number_stops_the_build(bench, built):
    record = built.record
    truth = {c.path: c.recomputed for c in record.checks}
    check_record(record, truth.__getitem__, sampled_paths(record))
    for start in ("examples.0", "moves.link_board", "neighbours.", "causes.example.kl"):
        path = next(p for p in sampled_paths(record) if p.startswith(start))
        with pytest.raises(PageError, match=re.escape(path)):
            check_record(record, (truth | {path: truth[path] + 0.01}).__getitem__, sampled_paths(record))
    path = sampled_paths(record)[0]
    assert recompute(bench, record)(path) == pytest.approx(truth[path])


def test_too_few_games_are_refused_with_how_many_it_takes(bench):
    few = dataclasses.replace(bench, games=generate(1, seed=bench.seed))
    with pytest.raises(InputError, match=r"^1 game: .* at least (\d+) random games$") as refused:
        few.head("L0H1")
    least = int(re.findall(r"\d+", str(refused.value))[-1])
    assert all(len(half) for half in generate(least, seed=bench.seed).split(0.5, bench.seed))
    with pytest.raises(InputError):
        generate(least - 1, seed=bench.seed).split(0.5, bench.seed)


def test_the_costliest_head_of_each_layer_is_chosen(bench):
    found = head_build.costliest(bench)
    assert [unit.layer for unit, _ in found] == list(range(bench.model.shape.n_layers))
    a = bench.heads.ablations
    cost = a.play[a["mean"], :, :, 2, 0]
    for unit, why in found:
        assert cost[unit.layer, unit.index] == cost[unit.layer].max() and "costs most" in why


# ---- sites and the command line ------------------------------------------------------------------------------


def test_a_site_of_both_kinds_is_whole(tmp_path):
    records = [record_of("match"), head_of("clear"), head_of("idle", "L6H1")]
    index = synthetic_index(records[:1])
    index = dataclasses.replace(index, heads=tuple(head_entry(r) for r in records[1:]))
    assert IndexRecord.from_json(index.to_json()) == index
    path = write_site(tmp_path / "site", records, index)
    names = {p.name for p in path.parent.iterdir()}
    assert names == {"index.html", "index.json"} | {f"{r.unit}.{e}" for r in records for e in ("html", "json")}
    for page in path.parent.glob("*.html"):
        for link in Outline(page.read_text()).all("a"):
            assert link["href"].startswith("#") or (path.parent / link["href"]).is_file()
    html = path.read_text()
    assert 'id="neurons"' in html and 'id="heads"' in html and "1 neuron, 2 heads" in html
    with pytest.raises(InputError, match="L6H1"):
        write_site(tmp_path / "other", records, dataclasses.replace(index, heads=index.heads[:1]))
    assert not (tmp_path / "other").exists()


def test_a_site_of_heads_alone_needs_no_pass_over_neurons(bench, tmp_path):
    fresh = dataclasses.replace(bench)  # its passes are not copied
    fresh.__dict__["heads"] = bench.heads
    assert "mining" not in fresh.__dict__
    path, index = build_site(fresh, tmp_path / "site", ["L0H1"])
    assert "mining" not in fresh.__dict__
    assert [e.unit for e in index.units] == ["L0H1"] and (path.parent / "L0H1.json").is_file()
    p = index.provenance
    assert p.command.startswith("othello-circuits report L0H1 --model ") and p.command in unescape(path.read_text())
    assert p.python.endswith(", \"report\", ['L0H1'])") and p.python in unescape(path.read_text())


def test_head_and_neuron_point_to_each_other(bench, run):
    with pytest.raises(InputError, match="othello-circuits head L0H1"):
        bench.neuron("L0H1")
    with pytest.raises(InputError, match="othello-circuits neuron L0N1"):
        bench.head("L0N1")
    assert "othello-circuits head L2H5" in run("neuron", "L2H5").stderr
    assert "othello-circuits neuron L2N5" in run("head", "L2N5").stderr
    assert run("head", "--out", "x.html").returncode == 2


def test_the_command_writes_a_page_and_the_table(run, tiny_files, tmp_path):
    common = ("--model", str(tiny_files["model"]), "--probe", str(tiny_files["probe"]), "--games", "40")
    page = tmp_path / "page.html"
    result = run("head", "L1H3", *common, "--out", str(page), "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["record"]["unit"] == "L1H3" and found["grade"] in head_words.GRADES and found["page"] == str(page)
    assert "L1H3" in page.read_text() and not list(tmp_path.glob(".*.html"))
    result = run("head", *common, "--json")
    heads = json.loads(result.stdout)["heads"]
    assert list(heads)[:2] == ["L0H0", "L0H1"] and 0 <= heads["L0H0"]["read"]["value"] <= 1
    text = run("head", *common).stdout
    assert "L2H3" in text and "held-out games" in text
