"""The routes: the live page, a move's whole page, the same numbers as JSON, and a site of units beside them."""

import json
from collections.abc import Callable, Collection
from functools import cache
from importlib.resources import files
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from circuits.errors import InputError
from reports.explanation.page import ExplanationReport
from reports.explanation.view import STYLE
from reports.neuron import environment as page_environment
from reports.server.asked import Asked
from reports.server.guard import PAGE_POLICY, SITE_POLICY, Guard
from reports.server.session import Session, result
from reports.server.view import failed, live

#: seconds that a browser keeps styles and scripts
KEPT = 300


def application(session: Session, hosts: Collection[str] | None, site: Path | None = None) -> Guard:
    """The application over an open session.

    Args:
        hosts: names answered to; None for any.
        site: a folder built by ``othello-circuits site``, served beside.
    """

    def page(request: Request) -> Response:
        asked = Asked()
        try:
            asked = Asked.of(request.query_params.multi_items())
            return HTMLResponse(live(session, asked, site))
        except InputError as error:
            return HTMLResponse(failed(session, asked, str(error)), 400)

    def explanation(request: Request) -> Response:
        asked = Asked()
        try:
            asked = Asked.of(request.query_params.multi_items())
            record = session.explanation(asked.moves, asked.move or None, asked.written)
        except InputError as error:
            return HTMLResponse(failed(session, asked, str(error)), 400)
        return HTMLResponse(ExplanationReport(record).html, headers={"content-security-policy": PAGE_POLICY})

    def explanation_numbers(request: Request) -> Response:
        def numbers() -> dict:
            asked = Asked.of(request.query_params.multi_items())
            units = session.without(asked.moves, asked.units, asked.written) if asked.units else None
            return result(session.explanation(asked.moves, asked.move or None, asked.written), units)

        return _json(numbers)

    def without_numbers(request: Request) -> Response:
        def numbers() -> dict:
            asked = Asked.of(request.query_params.multi_items())
            return session.without(asked.moves, asked.units, asked.written).to_dict()

        return _json(numbers)

    routes = [
        Route("/", page),
        Route("/explain", explanation),
        Route("/api/explain", explanation_numbers),
        Route("/api/without", without_numbers),
        Route("/assets/live.css", _asset("text/css", _style)),
        Route("/assets/live.js", _asset("text/javascript", _script)),
    ]
    if site is not None:
        routes.append(Mount("/site", _site(site)))
    return Guard(Starlette(routes=routes, exception_handlers={404: _absent}), hosts)


def _json(numbers: Callable[[], dict]) -> Response:
    """What the command prints with ``--json``; a refusal as one line."""
    try:
        text = json.dumps(numbers(), indent=1, allow_nan=False) + "\n"
    except InputError as error:
        return Response(json.dumps({"error": str(error)}) + "\n", 400, media_type="application/json")
    return Response(text, media_type="application/json")


def _site(folder: Path) -> Callable:
    """Files of a folder, under the policy of a site."""
    kept = StaticFiles(directory=folder, html=True)

    async def answered(scope, receive, send) -> None:
        async def sent(message) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", SITE_POLICY.encode())
                message = {**message, "headers": [*message["headers"], policy]}
            await send(message)

        await kept(scope, receive, sent)

    return answered


def _asset(kind: str, text: Callable[[], str]) -> Callable:
    def answered(request: Request) -> Response:
        return Response(text(), media_type=kind, headers={"cache-control": f"max-age={KEPT}"})

    return answered


@cache
def _style() -> str:
    """What all pages share, what figures of explanations need, and what is this page's own."""
    return "\n".join((str(page_environment().globals["css"]), str(STYLE), _read("live.css")))


@cache
def _script() -> str:
    return _read("live.js")


def _read(name: str) -> str:
    return files("reports.server").joinpath("assets", name).read_text(encoding="utf-8")


async def _absent(request: Request, error: Exception) -> Response:
    return PlainTextResponse("no such page here: / is the live page\n", 404)
