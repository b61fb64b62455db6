"""``othello-circuits site``: a static site of a finished atlas."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from circuits.errors import InputError
from reports.cli.options import Json, emit


def site(
    atlas: Annotated[str, typer.Argument(metavar="ATLAS", help="An atlas's folder or URL (othello-circuits atlas).")],
    out: Annotated[Path, typer.Option(help="Folder for the site.")] = Path("site"),
    workers: Annotated[int | None, typer.Option(help="Processes; nothing: as many as there are cores.")] = None,
    as_json: Json = False,
) -> None:
    """Build a site of all units of an atlas: static pages that open from disk, searchable, without a server.

    Some pages are read back and compared with the atlas's tables before it says that it is done.

    Example: othello-circuits site atlas --out site

    In Python: reports.atlas_site.build.build_site("atlas", "site")
    """
    import os

    if workers is not None and workers < 1:
        raise InputError(f"--workers {workers}: at least 1 is needed")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is no folder: the site is written into one; give another --out")

    from reports.atlas_site.build import build_site
    from reports.checks import PageError

    local = "://" not in atlas
    processes = workers or (len(os.sched_getaffinity(0)) if local and hasattr(os, "sched_getaffinity") else 1)
    terminal = sys.stderr.isatty()
    try:
        built = build_site(
            atlas, out, workers=processes, told=lambda stage: terminal and print(f"{stage} …", file=sys.stderr)
        )
    except PageError as error:
        raise InputError(f"the site does not say what the tables do, do not use it: {error}") from None
    emit(built.to_dict(), as_json, str(built))
