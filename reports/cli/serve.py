"""``othello-circuits serve``: live pages over a model, for this machine alone unless another host is given."""

from pathlib import Path
from typing import Annotated

import typer

from circuits.errors import InputError
from circuits.told import warn
from reports.cli.explain import Games, open_session
from reports.cli.options import Act, Cache, Device, Heads, Model, Probe, RandomWeights, Seed


def serve(
    port: Annotated[int, typer.Option(help="Where it listens; 0: any free port.")] = 8000,
    host: Annotated[str, typer.Option(help="Who can reach it; 127.0.0.1: this machine alone.")] = "127.0.0.1",
    model: Model = None, probe: Probe = None, games: Games = "500", seed: Seed = 0, device: Device = "cpu",
    cache: Cache = None,
    site: Annotated[
        Path | None, typer.Option(help="A folder made by othello-circuits site, whose unit pages are linked to.")
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    random_weights: RandomWeights = False, heads: Heads = None, act: Act = None,
) -> None:  # fmt: skip
    """Serve live pages: type a transcript or click moves, set units to their means, see the board and the moves change.

    Numbers are those of othello-circuits explain, --without and all; /api/explain and /api/without give them as JSON.
    Only this machine can reach it unless --host says otherwise. Ctrl-C ends it.

    Example: othello-circuits serve --open

    Example: othello-circuits serve --port 8080 --site site

    In Python: reports.server.session.Session.of(reports.open_model()).without("D2 C2 E5 E2 E1 F4 B1 B2", "L5N404 L2H5")
    """
    if site is not None and not ((site / "site.json").is_file() and (site / "index.html").is_file()):
        raise InputError(f"--site {site}: no site there; othello-circuits site ATLAS --out {site} makes one")

    from reports.server.serving import LOCAL, listening, url_of
    from reports.server.serving import serve as answer

    at = listening(host, port)  # before the model is loaded, which takes seconds
    try:
        from reports.server.app import application

        session = open_session(model, probe, games, seed, device, cache, random_weights, heads, act)
        url = url_of(host, at)
        everywhere = host in ("0.0.0.0", "::")
        if host not in LOCAL:
            whoever = "any machine that reaches this one" if everywhere else f"whoever reaches {host}"
            warn(f"{whoever} can use it, without a password")
        print(f"{session.model.name} at {url} (Ctrl-C ends it)", flush=True)
        if open_it:
            import webbrowser

            webbrowser.open(url)
        answer(application(session, None if everywhere else {*LOCAL, host}, site), at)
    finally:
        at.close()
