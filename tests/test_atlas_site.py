"""The site of an atlas: pages say what the tables do, are small and self-contained, and bad input is refused."""

import json
import re
import shutil
import sys
from hashlib import sha256
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import synthetic_atlas

from circuits.atlas import questions
from circuits.atlas.opened import Atlas
from circuits.errors import InputError
from circuits.notation import LABELS, N_SQUARES, Unit, square
from reports.atlas_site import lists, maps, pages, panels, positions, unit_words
from reports.atlas_site.alike import Alike
from reports.atlas_site.build import MARK, build_site
from reports.atlas_site.check import check_home, check_site, check_unit, sampled
from reports.atlas_site.overview import colourings
from reports.atlas_site.page_read import PageRead, read_page
from reports.atlas_site.roles import LEAST, ROLES, css_class, role
from reports.atlas_site.sheets import Sheets
from reports.atlas_site.unit_page import UnitPages
from reports.checks import PageError
from reports.cli import main
from reports.text import fixed

#: what the atlas has: more than one chunk of boards
UNITS = (
    *(Unit(layer, "neuron", i) for layer in range(3) for i in range(24)), Unit(1, "neuron", 100), Unit(2, "neuron", 77),
    *(Unit(layer, "head", i) for layer in range(3) for i in range(4)),
)  # fmt: skip
#: looked at one by one
SOME = ("L0N0", "L1N100", "L2N77", "L0H0", "L2H3")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return synthetic_atlas.write(tmp_path_factory.mktemp("atlas") / "tiny", units=UNITS)


@pytest.fixture(scope="module")
def atlas(folder):
    return Atlas.open(folder)


@pytest.fixture(scope="module")
def sheets(atlas):
    return Sheets(atlas)


@pytest.fixture(scope="module")
def site(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "site"
    return out, build_site(folder, out)


def rewritten(folder: Path, to: Path, name: str, change) -> Path:
    """A copy of an atlas in which a table is changed, its checksum with it."""
    shutil.copytree(folder, to)
    table = change(pq.read_table(to / f"{name}.parquet"))
    pq.write_table(table, to / f"{name}.parquet")
    manifest = json.loads((to / "atlas.json").read_text())
    manifest["tables"][name]["sha256"] = sha256((to / f"{name}.parquet").read_bytes()).hexdigest()
    (to / "atlas.json").write_text(json.dumps(manifest))
    return to


def test_a_sheet_is_the_answer_to_the_question(atlas, sheets):
    for name in SOME:
        assert sheets.sheet(sheets.row[name]) == questions.unit(atlas, name)


def test_rises_are_those_of_the_question(atlas, sheets):
    for state, index in (("mine", 0), ("empty", 1)):
        for found in questions.reads(atlas, "C0", state=state, top=30).found:
            own = sheets.rise[sheets.row[found.unit], index, square("C0")]
            assert own == pytest.approx(found.rise, rel=1e-6)


@pytest.mark.parametrize("name", ["L0N0", "L1N100"])
def test_look_alikes_are_those_of_the_question(atlas, sheets, name):
    asked = questions.like(atlas, name, top=3)
    (own,) = Alike(sheets).of([sheets.row[name]], top=3)
    assert {n.map: n.chance for n in own} == pytest.approx(asked.chance, abs=1e-5)
    found = [(n.map, unit, cosine) for n in own for unit, cosine in n.found]
    assert [f[:2] for f in found] == [(a.map, a.unit) for a in asked.found]
    assert [f[2] for f in found] == pytest.approx([a.cosine for a in asked.found], abs=1e-5)


def test_heads_have_no_look_alikes(sheets):
    assert Alike(sheets).of([sheets.row["L0H0"]]) == [()]


def test_positions_are_replayed_from_their_moves(sheets):
    own = positions.shown(sheets.sheet(sheets.row["L1N100"]).examples)
    assert len({(p.end, p.address.split(":")[1]) for p in own}) == len(own)  # one a game and end
    for example, (_, position) in zip(own, positions.positions(own), strict=True):
        moves = example.moves.split()
        assert position.last == moves[-1]
        discs = sum(state > 0 for state in position.board)
        assert discs == 4 + len(moves)
        assert position.legal and all(position.board[LABELS.index(name)] == 0 for name in position.legal)
        assert position.board[LABELS.index(position.last)] == 1  # theirs: the other side has just played it


def test_a_boards_colours_are_its_values():
    values = tuple(None if s in (27, 28, 35, 36) else (s - 30) / 30 for s in range(N_SQUARES))
    drawn = str(maps.board(values, 1.1, "a title <b>", "logit"))
    assert "&lt;b&gt;" in drawn and "<b>" not in drawn
    page = f"<h1>x</h1>{drawn}"
    read = PageRead()
    read.feed(page)
    for s, value in enumerate(values):
        right = 0 if value is None else maps.level(value, 1.1)
        assert read.boards["logit"].get(s, 0) == right, LABELS[s]
    assert maps.level(0.0, 1.0) == 0 and maps.level(-1.0, 1.0) == -maps.STEPS == -maps.level(1.0, 1.0)


def test_every_unit_has_a_page_and_numbers_are_printed(site, sheets):
    out, built = site
    assert {p.stem for p in (out / "units").iterdir()} == set(sheets.names)
    assert {p.stem for p in (out / "squares").iterdir()} == {*LABELS, "index"}
    assert built.units == len(sheets) and built.cells > 3000
    assert built.page_bytes < 120_000 and built.page_gzip < 25_000
    on_disk = sum(p.stat().st_size for p in out.rglob("*") if p.is_file() and p.name != MARK)
    assert built.bytes == on_disk
    assert "a second of processor time" in str(built)
    assert built.recomputed == 0 and "tables alone" in str(built)  # this atlas holds no model and no games
    assert "uniform guess" not in (out / "index.html").read_text()


class Links(HTMLParser):
    def __init__(self, path: Path):
        super().__init__()
        self.found, self.inline, self.open, self.ids = [], [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        own = dict(attrs)
        self.found += [own[a] for a in ("href", "src", "action") if own.get(a)]
        self.inline += [a for a in own if a == "style" or a.startswith("on")]
        self.inline += ["script"] * (tag == "script" and "src" not in own) + ["style"] * (tag == "style")
        self.ids.add(own.get("id"))


def test_pages_link_only_to_pages_that_are_there_and_hold_no_script(site):
    out, _ = site
    paths = [out / "index.html", out / "units.html", out / "compare.html", *(out / "squares").iterdir()]
    paths += [out / "units" / f"{name}.html" for name in SOME] + list((out / "layers").iterdir())
    for path in paths:
        page = Links(path)
        text = path.read_text(encoding="utf-8")
        assert page.inline == [], path
        assert "default-src 'none'" in unescape(text) and text.count("Content-Security-Policy") == 1
        for link in page.found:
            assert "//" not in link and not link.startswith(("data:", "javascript:")), link
            target = link.split("#")[0].split("?")[0]
            if target:
                assert (path.parent / target).resolve().is_file(), (path.name, link)
            elif link != "#grid" and link != "#cells":
                assert link[1:] in page.ids, (path.name, link)


def test_scripts_hold_what_the_tables_do(site, atlas):
    out, _ = site
    text = (out / "assets" / "units.js").read_text()
    data = json.loads(re.fullmatch(r"const ATLAS=(.*);\n", text, re.DOTALL)[1])
    units = atlas.table("units").to_pylist()
    assert data["units"] == [u["unit"] for u in units]
    for key, name, digits in lists.LISTED:
        for own, unit in zip(data["columns"][key], units, strict=True):
            assert own == (unit[name] if digits is None else lists.shortened(unit[name], digits))
    squares = json.loads(re.fullmatch(r"const SQUARES=(.*);\n", (out / "assets" / "squares.js").read_text())[1])
    reads = questions.reads(atlas, "C0", top=5).found
    assert [row[0] for row in squares["C0"]["reads"][:5]] == [r.unit for r in reads]
    assert squares["D3"]["separate-legal"] == squares["D3"]["blur-illegal"] == squares["D3"]["legal"] == []
    chunk = (out / "boards" / "0.js").read_text()
    number, own = json.loads("[" + re.fullmatch(r"ATLAS_CHUNK\((.*)\);\n", chunk, re.DOTALL)[1] + "]")
    assert number == 0 and list(own) == data["units"][: lists.CHUNK]
    sheet = questions.unit(atlas, "L0N3")
    assert own["L0N3"]["boards"]["state_r2"][1] == [lists.shortened(s.state_r2, 3) for s in sheet.squares]


def test_every_figure_key_is_a_column(sheets):
    assert set(lists.FIGURES) <= set(sheets.units)


def test_the_map_has_a_cell_a_neuron(sheets):
    role, status = colourings(sheets)
    assert role.key == "role" and status.key == "status"
    for own, row in [(c, row) for c in (role, status) for row in c.layers]:
        cells = len(re.findall(r"h1", str(row.drawing)))
        assert cells == row.neurons == sum(row.counts.values())
        place = {}
        for name, path in re.findall(r'<path class="([\w-]+)" d="([^"]*)"', str(row.drawing)):
            x = y = 0.0
            for dx, dy in re.findall(r"m(\S+) (\S+?)h1", path):
                x, y = x + float(dx), y + float(dy)
                place[int(x) * 16 + int(y)] = name
                x += 1
        given = sheets.roles if own is role else sheets.units["rule_status"]
        right = [s for s, layer in zip(given, sheets.units["layer"], strict=True) if layer == row.layer and s]
        assert [place[n] for n in range(len(right))] == [css_class(s) for s in right]


def test_roles_are_what_the_table_says(sheets):
    def of(**changed):
        unit = {"sd": 1.0, "rule_status": "unexplained", "roles": None, "best_fact": None, "best_skill": None,
                "shuffled_skill": 0.0}  # fmt: skip
        return role(unit | changed)

    assert of() == "no one fact" and of(rule_status="explained") == "several facts"
    assert of(sd=0.0) == of(rule_status="dead") == "dead"
    assert of(rule_status="clock", best_fact="C0 mine", best_skill=0.9) == of(roles="clock, played") == "clock"
    for fact, right in (
        ("legal C0 via SE x1", "legal move"),
        ("C0 legal", "legal move"),
        ("C0 theirs", "colour"),
        ("C0 occupied", "empty or not"),
        ("C0 played", "just played"),
        ("C0 flipped", "just flipped"),
    ):
        assert of(best_fact=fact, best_skill=LEAST) == right
        assert of(best_fact=fact, best_skill=LEAST - 0.01) == "no one fact"
        assert of(best_fact=fact, best_skill=0.5, shuffled_skill=0.3) == "no one fact"
    assert set(filter(None, sheets.roles)) <= set(ROLES) and [r is None for r in sheets.roles] == [
        kind == "head" for kind in sheets.units["kind"]
    ]


def test_python_lines_give_what_is_shown(atlas, sheets):
    sheet = sheets.sheet(sheets.row["L1N100"])
    groups = panels.groups(sheet, panels.columns(sheet, sheets.rise[sheets.row["L1N100"]]))
    names = {"questions": questions, "atlas": atlas}
    for group in groups["reads"] + groups["writes"]:
        assert eval(group.python, names), group.title
    (rise,) = eval(groups["reads"][1].python, names)
    assert rise == pytest.approx(sheets.rise[sheets.row["L1N100"], 0, square("C0")])


def test_headlines_say_what_the_figures_do(sheets):
    for name in SOME:
        sheet = sheets.sheet(sheets.row[name])
        said = unit_words.headline(sheet, sheets.rule(sheets.row[name]))
        assert said.endswith(".") and "nan" not in said and "None" not in said
        if sheet.words.get("rule_status") == "unexplained":
            assert said.startswith("No rule")


def test_text_of_the_tables_is_escaped(folder, tmp_path):
    nasty = "<img src=x onerror=alert(1)>\u2028</script>"

    def change(table):
        rows = [nasty if unit == "L0N0" else fact for unit, fact in zip(
            table["unit"].to_pylist(), table["best_fact"].to_pylist(), strict=True)]  # fmt: skip
        return table.set_column(
            table.schema.get_field_index("best_fact"), table.schema.field("best_fact"), pa.array(rows)
        )

    own = Sheets(Atlas.open(rewritten(folder, tmp_path / "a", "units", change)))
    i = own.row["L0N0"]
    sheet = own.sheet(i)
    unit = UnitPages(own, "<a>").page(i, sheet, panels.columns(sheet, own.rise[i]), (), ())
    for page in (unit, pages.home(own, "<a>"), *(page for _, page in pages.layers(own, "<a>"))):
        assert "<img" not in page and "<a>" not in page
    assert "&lt;img" in unit
    assert "\u2028" not in lists.units_script(own)


def test_a_page_that_was_tampered_with_is_found(site, sheets, tmp_path):
    (out, _), typical = site, unit_words.Typical(sheets)
    text = (out / "units" / "L1N100.html").read_text()
    assert check_unit(sheets, "L1N100", out / "units" / "L1N100.html", typical) > 500
    first = text.index('id="squares"')
    cell, rise = re.compile(r"<td>(0\.\d+)").search(text, first), re.compile(r"<td>(−?\d\.\d*)\n").search(text, first)
    for wrong in (
        text[: cell.start()] + "<td>0.999" + text[cell.end() :],  # a cell
        text[: rise.start()] + "<td>7.77\n" + text[rise.end() :],
        text.replace('fill-opacity="0.3"', 'fill-opacity="0.9"', 1),  # a colour
        text.replace("<h1>L1N100", "<h1>L1N10"),
        text.replace('data-column="logit"', 'data-column="logits"'),
        re.sub(r'(<p class="headline">)\w', r"\1X", text),
        re.sub(r'(<div class="value">)', r"\g<1>9", text, count=1),
        re.sub(r"(<td>bottom</td><td>)", r"\g<1>4", text, count=1),
    ):
        assert wrong != text
        (tmp_path / "L1N100.html").write_text(wrong)
        with pytest.raises(PageError, match=r"L1N100\.html"):
            check_unit(sheets, "L1N100", tmp_path / "L1N100.html", typical)


def test_heads_are_linked_with_the_neurons_that_they_move(site, sheets, tmp_path):
    head = next(name for name in sheets.names if "H" in name and questions.unit(sheets.atlas, name).after)
    sheet, text = questions.unit(sheets.atlas, head), (site[0] / "units" / f"{head}.html").read_text()
    moved = max(sheet.after, key=lambda e: e.effect)
    section = text[text.index('id="neighbours"') :]
    assert "it moves" in section and "it raises" not in section and f'{moved.unit}.html"' in section
    neuron = questions.unit(sheets.atlas, moved.unit)
    assert head in {e.unit for e in dict(neuron.linked())["heads that move it"]}
    assert read_page(site[0] / "units" / f"{moved.unit}.html").links[head] == fixed(moved.effect, 2)
    alike = sheets.names[0]
    assert set(read_page(site[0] / "units" / f"{alike}.html").links) <= {
        e.unit for own in dict(questions.unit(sheets.atlas, alike).linked()).values() for e in own
    }
    wrong = section.replace(f"<td>{fixed(moved.effect, 2)}</td>", "<td>9.99</td>", 1)
    assert wrong != section
    (tmp_path / "wrong.html").write_text(text.replace(section, wrong))
    with pytest.raises(PageError, match=f"the edge of {moved.unit}"):
        check_unit(sheets, head, tmp_path / "wrong.html", unit_words.Typical(sheets))


def test_a_first_page_that_was_tampered_with_is_found(site, sheets, tmp_path):
    text = (site[0] / "index.html").read_text()
    assert check_home(sheets, site[0] / "index.html") > 30
    find = re.search(
        r'<th scope="row"><a href="units/(L\dN\d+)\.html">\1</a></th><td>([^<]+)</td></tr><tr class="said">', text
    )
    count = re.search(r'">L1</a></th><td>(\d+)</td>', text)
    for wrong in (
        text[: find.start(2)] + "0.123" + text[find.end(2) :],
        text[: count.start(1)] + "99" + text[count.end(1) :],
    ):
        (tmp_path / "index.html").write_text(wrong)
        with pytest.raises(PageError, match=r"index\.html"):
            check_home(sheets, tmp_path / "index.html")


def test_pages_of_another_atlas_are_found(folder, site, tmp_path):
    def change(table):
        own = np.roll(table["state_r2"].to_numpy(zero_copy_only=False), 1)
        return table.set_column(
            table.schema.get_field_index("state_r2"),
            table.schema.field("state_r2"),
            pa.array(own, pa.float32(), from_pandas=True),
        )

    other = Atlas.open(rewritten(folder, tmp_path / "a", "squares", change))
    with pytest.raises(PageError):
        check_site(Sheets(other), site[0], sampled(other, 3))


@pytest.fixture
def command(monkeypatch, capsys):
    """The command in this process: status, stdout, stderr."""

    def run(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["othello-circuits", "site", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return (end.value.code, *capsys.readouterr())

    return run


def test_bad_input_ends_in_one_line(command, folder, tmp_path):
    def refused(*arguments) -> str:
        status, out, err = command(*arguments)
        assert (status, out) == (2, "") and err.count("\n") == 1
        return err

    (tmp_path / "file").write_text("x")
    assert "no folder" in refused(folder, "--out", tmp_path / "file")
    assert "no finished atlas" in refused(tmp_path, "--out", tmp_path / "site")
    damaged = tmp_path / "damaged"
    shutil.copytree(folder, damaged)
    data = bytearray((damaged / "squares.parquet").read_bytes())
    data[len(data) // 2] ^= 1
    (damaged / "squares.parquet").write_bytes(data)
    assert "--workers 0" in refused(folder, "--workers", 0, "--out", tmp_path / "site")
    assert "squares.parquet is damaged" in refused(damaged, "--out", tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_the_command_makes_an_older_site_anew(command, folder, tmp_path):
    out = tmp_path / "site"
    (out / "units").mkdir(parents=True)
    (out / MARK).write_text("{}")
    (out / "units" / "L9N9.html").write_text("old")
    status, said, _ = command(folder, "--out", out, "--workers", 1, "--json")
    assert status == 0 and json.loads(said)["units"] == len(UNITS) and json.loads(said)["folder"] == str(out)
    assert not (out / "units" / "L9N9.html").exists() and (out / "index.html").is_file()


def test_a_folder_of_other_things_is_left_alone(folder, tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="holds other things"):
        build_site(folder, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_missing_column_or_table_is_refused(folder, tmp_path):
    short = rewritten(folder, tmp_path / "short", "edges", lambda table: table.drop_columns(["cosine"]))
    with pytest.raises(InputError, match=r"edges\.parquet has no column cosine"):
        build_site(short, tmp_path / "site")
    manifest = json.loads((folder / "atlas.json").read_text())
    shutil.copytree(folder, tmp_path / "less")
    del manifest["tables"]["examples"]
    (tmp_path / "less" / "atlas.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="no table examples"):
        build_site(tmp_path / "less", tmp_path / "site")
    with pytest.raises(InputError, match="not of 00"):
        build_site(folder, tmp_path / "site", model_hash="00")
    assert not (tmp_path / "site").exists()


def test_an_atlas_without_rules_or_probes_has_pages(tmp_path):
    few = UNITS[:5] + UNITS[-5:]
    folder = synthetic_atlas.write(
        tmp_path / "bare", units=few, rules=None, readers={}, directions={}, profiles=None, ablations=None
    )
    built = build_site(folder, tmp_path / "site", checked=3)
    assert built.units == len(few)
    page = (tmp_path / "site" / "units" / "L0N0.html").read_text()
    assert (
        "Its rule" not in page and "No unit was ablated" in page and "what its input weight reads" not in page.lower()
    )
    home = pages.home(Sheets(Atlas.open(folder)), "bare")
    assert "No rules were looked for" in home
