"""``othello-circuits patch``: one run's activations put into the other's, and what that does."""

from pathlib import Path
from typing import Annotated

import typer

from circuits.errors import InputError
from reports.cli import pairs as c
from reports.cli.options import Act, Device, Heads, Json, Model, NotationOption, Probe, RandomWeights, Seed, emit

#: more places than this are patched at every ply together, where nothing else is said
MANY = 600
DIRECTIONS = {
    "both": "both",
    "denoising": "clean → corrupt",
    "clean → corrupt": "clean → corrupt",
    "noising": "corrupt → clean",
    "corrupt → clean": "corrupt → clean",
}
ALIGN = {"ply": "ply", "end": "end", "first": "first difference"}


def patch(
    clean: c.Clean = None, corrupt: c.Corrupt = None, pairs: c.PairsFile = None, fact: c.Fact = None,
    kind: c.Kind = "both", keep: c.Keep = None, n: c.Number = 100, plies: c.Plies = "5-53", games: c.Searched = None,
    what: Annotated[
        str | None,
        typer.Option(
            metavar="PLACES",
            help="Kinds (pre, mid, post, attn, mlp, head, q, k, v, pattern, neuron) or names, such as 'L2H5,L3 MLP' "
            "(default pre,attn,mlp).",
        ),
    ] = None,
    subspace: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIRECTIONS@POINT", help="Checkpoint directions, such as 'C0 mine,D1 mine@L4'; may be repeated."
        ),
    ] = None,
    by_ply: Annotated[
        bool | None, typer.Option("--by-ply/--together", help="Each ply by itself (default), or every ply at once.")
    ] = None,
    direction: Annotated[
        str, typer.Option(help="denoising (clean into corrupt), noising (corrupt into clean), or both.")
    ] = "both",
    metric: c.MetricOption = "newly-legal",
    at: Annotated[int | None, typer.Option(metavar="PLY", help="Read the metric here (default: the last ply).")] = None,
    align: Annotated[
        str | None,
        typer.Option(help="Count plies up (ply), back from the last (end), or on from the difference (first)."),
    ] = None,
    model: Model = None, probe: Probe = None, seed: Seed = 0, device: Device = "cpu",
    out: Annotated[Path | None, typer.Option(help="A folder for the page (patch.html) and patch.json.")] = None,
    notation: NotationOption = "ours", random_weights: RandomWeights = False, heads: Heads = None, act: Act = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Patch activations between clean and corrupt runs, and say where their difference sits.

    Pairs come from --fact, from --clean and --corrupt, or from --pairs FILE. Every place is patched by itself; effects
    come with a bootstrap interval over games and sign-flip p-values, alone and over the whole table.

    Example: othello-circuits patch --fact "legal C0 via SE x1 & C0 legal" --keep "C0 empty" --metric logit:C0 --out
    patched

    Example: othello-circuits patch --fact "C0 flipped" --metric "reading:C0 mine@L3" --what head --together --json

    Example: othello-circuits patch --fact "legal C0 via SE x1 & C0 legal" --metric logit:C0 --subspace "D1 mine@L4"

    In Python: circuits.causes.patching.sweep(model, pairs, metric, what),
    circuits.causes.subspaces.patch_subspace(model, pairs, metric, subspace)
    """
    options = c.PairOptions(
        clean, corrupt, pairs, fact, kind, tuple(keep or ()), n, plies, games, notation, seed
    )  # fmt: skip
    if direction not in DIRECTIONS:
        raise InputError(f"--direction {direction}: it is denoising, noising or both")
    if align is not None and align not in ALIGN:
        raise InputError(f"--align {align}: it is ply, end or first")
    if at is not None and subspace:
        raise InputError("--at and --subspace: subspaces are patched for a metric at the last ply; leave one out")
    named = tuple(item.strip() for item in (what or "").split(",") if item.strip())
    if what is not None and not named:
        raise InputError("--what is empty: name kinds or places, such as attn,mlp or L2H5")
    wanted = named or (() if subspace else ("pre", "attn", "mlp"))

    from circuits.causes.patching import sweep
    from circuits.causes.subspaces import patch_subspace
    from reports.patching.metric_names import parse_subspace, places_that_reach
    from reports.patching.page import PatchReport, check_folder
    from reports.patching.records import patch_record, unpatched
    from reports.patching.words import text_table

    if out is not None:
        check_folder(out)
    q = c.ask(options, metric, model, probe, heads, act, device, random_weights, need_probes=bool(subspace))
    way = DIRECTIONS[direction]
    spaces = [parse_subspace(text, q.model, q.probes) for text in subspace or ()]
    python = f"{c.imports('circuits.causes.patching', 'circuits.causes.subspaces')}; {q.python}"
    found = None
    if wanted:
        chosen = places_that_reach(q.model, wanted, q.metric)
        each = by_ply if by_ply is not None else len(chosen) <= MANY
        if by_ply is None and not each:
            c.say(f"{len(chosen)} places are patched at every ply together; --by-ply does each ply by itself")
        found = sweep(
            q.model, q.pairs, q.metric, chosen, by_ply=each, direction=way, at=at, progress="patching"
        )  # fmt: skip
        told = f", at={at}" if at is not None else ""
        python += (
            f"; circuits.causes.patching.sweep(model, pairs, metric, places_that_reach(model, {wanted!r}, metric), "
            f"by_ply={each}, direction={way!r}{told})"
        )
    patched = []
    for text, space in zip(subspace or (), spaces, strict=True):
        patched.append(patch_subspace(q.model, q.pairs, q.metric, space, direction=way, seed=seed))
        python += (
            f"; circuits.causes.subspaces.patch_subspace(model, pairs, metric, "
            f"parse_subspace({text!r}, model, probes_), direction={way!r}, seed={seed})"
        )
    runs = found if found is not None else unpatched(q.model, q.pairs, q.metric)
    record = patch_record(
        q.model, found, patched, runs=runs, align=ALIGN[align] if align else None, seed=seed, command=c.command(),
        python=python,
    )  # fmt: skip
    lines = [text_table(record)]
    result = record.to_dict()
    if out is not None:
        page = PatchReport(record).write(out)
        lines.append(f"page: {page}")
        result = {"page": str(page), **result}
    emit(result, as_json, "\n".join(lines))
