"""``othello-circuits serve``: the command line's numbers, pages that need no scripts, one line for what is refused."""

import asyncio
import html
import http.client
import json
import os
import re
import shlex
import signal
import socket
import threading
import time
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import pytest
from command_line import refused
from test_browser import CHROMIUM, FLAGS

from circuits.games import generate
from circuits.notation import TOKEN_SQUARE, print_transcript
from reports.cli.explain import open_session
from reports.explanation.page import ExplanationReport
from reports.server import words
from reports.server.app import application
from reports.server.asked import Asked
from reports.server.guard import MOST, POLICY, Guard, host_name
from reports.server.serving import LOCAL, listening, server_of, url_of
from reports.server.session import Session

GAME = "E5 D5 C4 F5 E2"
STANDARD = "F5 F4 E3 F6 C5"  # the same game
UNITS = "L0N3 L1H2"


@pytest.fixture(scope="module")
def session(tiny_files, tmp_path_factory) -> Session:
    files = (str(tiny_files["model"]), str(tiny_files["probe"]))
    return open_session(*files, "80", 0, "cpu", tmp_path_factory.mktemp("cache"), False, None, None)


@pytest.fixture(scope="module")
def site(tmp_path_factory, session) -> Path:
    """A folder that looks like a site with the page of one unit, which is listed for the likeliest move."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "units").mkdir()
    unit = session.explanation(GAME).explanation.supports.units[0].unit
    for name in ("index.html", "site.json", f"units/{unit}.html"):
        (folder / name).write_text(f"<p>{name}</p>")
    return folder


@pytest.fixture(scope="module")
def served(session, site):
    """A function that asks a real server: status, headers, text; ``served.port`` is where."""
    at = listening("127.0.0.1", 0)
    server = server_of(application(session, LOCAL, site))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [at]}, daemon=True)
    thread.start()
    port = at.getsockname()[1]

    def ask(path="/", method="GET", host=None, **query):
        own = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        text = f"{path}?{urlencode(query, doseq=True)}" if query else path
        own.request(method, text, headers={"Host": host or f"127.0.0.1:{port}"})
        answer = own.getresponse()
        found = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode()
        own.close()
        return found

    ask.port = port
    yield ask
    server.should_exit = True
    thread.join(10)
    at.close()


def page_of(served, **query) -> str:
    status, _, text = served("/", **query)
    assert status == 200
    return text


def links(page: str) -> dict[str, str]:
    """The addresses of the moves that the board plays."""
    return {name: html.unescape(url) for url, name in re.findall(r'<a href="([^"]*)"[^>]*id="play-(\w+)"', page)}


# ---- numbers ---------------------------------------------------------------------------------------------------


def test_numbers_are_those_of_the_command_on_the_page(served, run):
    page = page_of(served, moves=GAME, without=UNITS)
    command = html.unescape(re.search(r'<code class="copy">(othello-circuits .*?)</code>', page)[1])
    printed = run(*shlex.split(command)[1:], "--json")
    assert printed.returncode == 0, printed.stderr
    expected = json.loads(printed.stdout)
    assert f'data-figure="kl" data-v="{expected["without"]["kl"]:.4g}"' in page
    status, headers, text = served("/api/without", moves=GAME, units=UNITS)
    assert status == 200 and headers["content-type"] == "application/json"
    assert text == json.dumps(expected["without"], indent=1) + "\n"
    text = served("/api/explain", moves=GAME, without=UNITS)[2]
    found = json.loads(text)
    for name in ("command", "python"):  # what was typed differs, and nothing else
        assert expected["origin"][name] and found["origin"][name]
        expected["origin"][name] = found["origin"][name]
    assert text == json.dumps(expected, indent=1) + "\n"
    assert "without" not in json.loads(served("/api/explain", moves=GAME)[2])
    same = served("/api/without", moves=STANDARD, units=UNITS.lower(), notation="standard")[2]
    assert json.loads(same) == expected["without"]


def test_the_whole_page_of_a_move_is_that_of_explain(served, session):
    status, headers, text = served("/explain", moves=GAME, move="C3")
    assert status == 200 and text == ExplanationReport(session.explanation(GAME, "C3")).html
    assert "script-src" not in headers["content-security-policy"]
    assert "default-src 'none'" in headers["content-security-policy"]


def test_a_session_of_a_bench_gives_the_same(session, bench):
    ours, theirs = session.without(GAME, UNITS), Session.of(bench).without(GAME, UNITS)
    assert theirs.kl == pytest.approx(ours.kl, rel=1e-3) and theirs.units[0].mean == pytest.approx(ours.units[0].mean)
    assert theirs.reference == ours.reference


def test_answers_are_kept_and_not_without_end(session, monkeypatch):
    monkeypatch.setattr("reports.server.session.SETS", 3)
    first = session.without(GAME, UNITS)
    assert session.without(GAME, UNITS) is first
    for i in range(3):
        session.without(GAME, f"L0N{i}")
    assert session.without(GAME, UNITS) is not first and session.without(GAME, UNITS) == first
    assert session.explained(GAME) is session.explanation(GAME)
    assert session.explained(GAME, "H7") is None


# ---- pages -----------------------------------------------------------------------------------------------------


def test_a_game_is_played_by_links_alone(served):
    page = page_of(served)
    assert set(links(page)) == {"C3", "D2", "E5", "F4"} and "Type a transcript" in page
    for move in GAME.split():
        status, _, page = served(links(page)[move])
        assert status == 200
    assert f'value="{GAME}"' in page and "Ply 4" in page
    undo = html.unescape(re.search(r'id="undo" href="([^"]*)"', page)[1])
    assert f'value="{GAME[:-3]}"' in served(undo)[2]


def test_the_form_works_without_scripts(served, session):
    top = session.explanation(GAME).explanation.supports.units[0].unit
    page = page_of(served, moves=GAME, without="L0N3", unit=[top, "L1H2"], list=1)
    w = session.without(GAME, ["L0N3", top, "L1H2"])
    assert html.unescape(page).count(words.change(w, w.checkpoint).split(" goes from")[0])
    box = re.search(rf'<input type="checkbox" form="ask" name="unit" value="{top}"[^>]*>', page)[0]
    assert " checked" in box
    field = re.search(r'<input id="without" name="without" value="([^"]*)"', page)[1].split()
    assert top not in field and "L0N3" in field  # a unit with a box is not in the field too
    assert page.count('<svg class="board"') == 5 and f'data-figure="kl" data-v="{w.kl:.4g}"' in page
    for row in w.units:
        assert f'put back<span class="hidden"> {row.unit}</span>' in page


def test_another_layer_and_another_move(served, session):
    page = page_of(served, moves=GAME, point="blocks.0.hook_resid_post", move="c3", list=1)
    assert "Read after L0" in page and "For C3" in page and "<option selected>C3</option>" in page.replace(" >", ">")
    assert "Read after L0" not in page_of(served, moves=GAME)


def test_markup_stays_text_and_nothing_is_inline(served, session):
    evil = '"><script>alert(1)</script>'
    for query in ({"moves": evil}, {"moves": GAME, "without": evil}, {"moves": GAME, "move": evil},
                  {"moves": GAME, "point": evil}, {"moves": GAME, "notation": evil}):  # fmt: skip
        status, headers, text = served("/", **query)
        assert status == 400 and "<script>" not in text and "alert(1)" in text
        assert headers["content-security-policy"] == POLICY
    page = page_of(served, moves=GAME, without=UNITS, list=1)
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! src=\"/assets/live.js\" defer>)", page)
    assert not re.findall(r'(?:src|href)="(?!/|#|data:)[^"]', page)


def test_unit_pages_of_a_site_are_linked_to_where_they_are(served, session, site):
    top, other = (row.unit for row in session.explanation(GAME).explanation.supports.units[:2])
    page = page_of(served, moves=GAME, list=1)
    assert f'href="/site/units/{top}.html"' in page and f"/site/units/{other}.html" not in page
    status, headers, text = served(f"/site/units/{top}.html")
    assert status == 200 and text == f"<p>units/{top}.html</p>"
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert served("/site/")[2] == "<p>index.html</p>"
    assert served("/site/../../etc/passwd")[0] == served("/site/%2e%2e/%2e%2e/etc/passwd")[0] == 404


# ---- refusals --------------------------------------------------------------------------------------------------


def finished() -> str:
    games = generate(400, seed=5)
    row = games.tokens[int(games.lengths.argmin())]
    return print_transcript([int(TOKEN_SQUARE[int(t)]) for t in row if t])


@pytest.mark.parametrize(
    "query, said",
    [
        ({"moves": f"{GAME} H7"}, "ply 5: H7 is not legal"),
        ({"moves": "E5 Z9"}, "Z9"),
        ({"moves": STANDARD}, "in standard notation it is a legal game"),
        ({"moves": GAME, "without": "L0N3 C4"}, "names no unit"),
        ({"moves": GAME, "without": "L9N3"}, "out of range"),
        ({"moves": GAME, "without": "L0N3 l0n3"}, "L0N3 is named twice"),
        ({"moves": GAME, "move": "D3"}, "centre square"),
        ({"moves": GAME, "point": "blocks.9"}, "no probe reads there"),
        ({"moves": GAME, "notation": "theirs"}, "it is ours or standard"),
        ({"moves": finished()}, "nobody can move"),
    ],
)
def test_what_is_refused_is_one_line(served, query, said):
    status, _, page = served("/", **query)
    found = html.unescape(re.search(r"data-error>(.*?)</p>", page, re.DOTALL)[1])
    assert status == 400 and said in found and "\n" not in found and "Traceback" not in page
    assert f'value="{query["moves"]}"' in page  # to be mended
    if "point" not in query:
        status, _, text = served("/api/explain", **query)
        assert status == 400 and json.loads(text) == {"error": found}
    if "without" not in query and "point" not in query:
        assert served("/explain", **query)[0] == 400


def test_what_an_address_may_have_is_known(served):
    for query, said in ((f"moves={GAME.replace(' ', '+')}&witout=L0N3", "'witout' in the address means nothing here"),
                        ("moves=E5&moves=D2", "moves stands twice")):  # fmt: skip
        for path in ("/", "/explain", "/api/explain", "/api/without"):
            status, _, text = served(f"{path}?{query}")
            assert status == 400 and said in html.unescape(text)


def test_a_legal_game_is_played_on_when_something_else_is_refused(served):
    page = served("/", moves=GAME, without="L9N3", point="blocks.9")[2]
    assert "click a move to play on" in page
    assert all(served(url)[0] == 200 for url in list(links(page).values())[:2])


def test_a_finished_game_can_be_taken_back(served):
    page = served("/", moves=finished())[2]
    assert not links(page) and "the game is over" in page and '<svg class="board"' in page
    assert served(html.unescape(re.search(r'id="undo" href="([^"]*)"', page)[1]))[0] == 200


def test_other_hosts_methods_and_long_addresses_are_refused(served):
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", "[::2]:80", ""):
        status, _, text = served("/", host=host or " ")
        assert status == 400 and "not answered to" in text and len(text.splitlines()) == 1
    for host in ("localhost", f"LOCALHOST:{served.port}", f"[::1]:{served.port}"):
        assert served("/", host=host)[0] == 200
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert served("/", method)[0] == 405
    assert served("/", "HEAD")[0] == 200
    assert served("/", moves="A" * MOST)[0] == 414
    status, _, text = served("/nothing")
    assert status == 404 and len(text.splitlines()) == 1
    headers = served("/assets/live.js")[1]
    assert headers["x-content-type-options"] == "nosniff" and "access-control-allow-origin" not in headers
    assert [host_name(h) for h in ("a:1", "a", "[::1]:8", "A")] == ["a", "a", "::1", "a"]


def test_an_answer_that_the_end_overtakes_is_no_error():
    async def overtaken(scope, receive, send):
        raise asyncio.CancelledError

    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "headers": [(b"host", b"localhost")], "query_string": b""}
    asyncio.run(Guard(overtaken, LOCAL)(scope, None, send))
    assert sent[0]["status"] == 503 and sent[1]["body"] == b"the server has ended\n"


def test_many_ask_at_once(served):
    found = []
    asking = [
        threading.Thread(target=lambda i=i: found.append(served("/api/without", moves=GAME, units=f"L1N{i % 3}")))
        for i in range(12)
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert {status for status, *_ in found} == {200} and len({text for *_, text in found}) == 3


def test_an_address_holds_what_is_asked():
    asked = Asked("E5 D5", ("L0N3", "L1H2"), "C3", "blocks.0.hook_resid_post", "ours", True)
    assert Asked.of(parse_qsl(asked.url().partition("?")[2])) == asked
    assert Asked().url() == "/" and Asked.of([("without", "L0N3"), ("unit", "l0n3"), ("unit", "L1H2")]).units == (
        "L0N3", "L1H2",
    )  # fmt: skip


# ---- the command -----------------------------------------------------------------------------------------------


def test_help_shows_an_example(run):
    result = run("serve", "--help")
    assert result.returncode == 0 and "Example: othello-circuits serve --open" in result.stdout


def test_a_port_in_use_is_one_line_before_anything_is_loaded(run, served):
    said = refused(run("serve", "--port", str(served.port), "--model", "nowhere.safetensors"))
    assert f"--port {served.port}" in said and "0 for any free port" in said


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("--port", "70000"), "from 1 to 65535"),
        (("--host", "192.0.2.1", "--port", "0"), "no address of this machine"),
        (("--host", "no host"), "no such address"),
        (("--host", ""), "--host is empty"),
        (("--site", "."), "no site there"),
        (("--port", "0", "--model", "nowhere.safetensors"), "nowhere.safetensors"),
        (("--port", "0", "--games", "0"), "at least 1 game"),
    ],
)
def test_bad_options_are_one_line(run, arguments, said):
    assert said in refused(run("serve", *arguments))


@pytest.mark.parametrize("name, host", [("SIGINT", "127.0.0.1"), ("SIGTERM", "0.0.0.0")])
def test_it_serves_until_it_is_told_to_end(run, tiny_files, name, host):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    statuses = []

    def ask_and_end():
        for _ in range(600):
            try:
                own = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                own.request("GET", "/", headers={"Host": "my.machine"})
                statuses.append(own.getresponse().status)
                break
            except OSError:
                time.sleep(0.1)
        os.kill(os.getpid(), getattr(signal, name))

    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    thread = threading.Thread(target=ask_and_end, daemon=True)
    thread.start()
    files = ("--model", str(tiny_files["model"]), "--probe", str(tiny_files["probe"]), "--games", "80")
    result = run("serve", "--port", str(port), "--host", host, *files)
    thread.join(10)
    assert (
        result.returncode == 0
        and result.stdout == f"{result.stdout.split()[0]} at http://127.0.0.1:{port}/ (Ctrl-C ends it)\n"
    )
    # Any name is answered to only where any machine may ask, and that is said.
    assert statuses == [400 if host == "127.0.0.1" else 200]
    assert ("without a password" in result.stderr) == (host != "127.0.0.1") and "Traceback" not in result.stderr
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_addresses_for_a_browser():
    with listening("127.0.0.1", 0) as at:
        port = at.getsockname()[1]
        assert url_of("localhost", at) == f"http://localhost:{port}/" and url_of("::1", at) == f"http://[::1]:{port}/"
        assert url_of("0.0.0.0", at) == f"http://127.0.0.1:{port}/"


# ---- a browser -------------------------------------------------------------------------------------------------


@pytest.mark.browser
def test_in_a_browser(served, session):
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: install the system's (apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api")
    home = f"http://127.0.0.1:{served.port}/"
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        for width, scheme in ((1280, "light"), (390, "dark")):
            context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page, said = context.new_page(), []
            page.on("console", lambda message, said=said: said.append(message.text))
            page.on("pageerror", lambda error, said=said: said.append(str(error)))
            page.on("request", lambda r, said=said: r.url.startswith((home, "data:")) or said.append(r.url))
            page.goto(home)
            page.fill("#moves", GAME[:-3])
            page.press("#moves", "Enter")
            page.wait_for_url("**moves=*")
            page.click("#play-E2")  # a click plays on
            page.wait_for_selector(f"#moves[value='{GAME}']")
            boxes = page.locator("input[name=unit]")  # listed without being asked for
            boxes.first.wait_for()
            unit = boxes.first.get_attribute("value")
            boxes.first.check()
            page.locator("#changed").wait_for()
            w = session.without(GAME, unit)
            assert page.locator("[data-figure=kl]").get_attribute("data-v") == f"{w.kl:.4g}"
            assert page.locator("[data-after] svg.board").count() == 1 and f"without={unit}" in page.url
            assert page.inner_text("#said").startswith(f"With {unit} at its mean")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.go_back()
            page.locator("#changed").wait_for(state="detached")
            page.fill("#without", UNITS)
            page.click("#show")
            page.wait_for_url("**without=L0N3*")
            page.locator(f"#changed th:text('{UNITS.split()[1]}')").wait_for()
            page.reload()
            assert page.locator("#changed").count() == 1  # the address holds it all
            page.locator("input[name=unit]").first.wait_for()
            assert said == []
            context.close()
        browser.close()
