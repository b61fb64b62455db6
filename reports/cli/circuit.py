"""``othello-circuits circuit``: the small graph behind a metric, with its faithfulness."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from circuits.errors import InputError
from reports.cli import pairs as c
from reports.cli.options import Act, Device, Heads, Json, Model, NotationOption, Probe, RandomWeights, Seed, emit


def circuit(
    clean: c.Clean = None, corrupt: c.Corrupt = None, pairs: c.PairsFile = None, fact: c.Fact = None,
    kind: c.Kind = "both", keep: c.Keep = None, n: c.Number = 100, plies: c.Plies = "5-53", games: c.Searched = None,
    metric: c.MetricOption = "newly-legal",
    start: Annotated[
        str | None,
        typer.Option(metavar="DIRECTIONS@POINT", help="Begin in the checkpoint: 'D1 mine,E2 mine@L4'; a late circuit."),
    ] = None,
    share: Annotated[float, typer.Option(help="The share of the effect that the circuit is to keep.")] = 0.8,
    open_neurons: Annotated[int, typer.Option(help="How many neurons become nodes of their own.")] = 40,
    max_edges: Annotated[int, typer.Option(help="The largest graph that exact pruning starts from.")] = 500,
    held_out: Annotated[float, typer.Option(help="Share of the games held out; all figures are of these.")] = 0.5,
    random_graphs: Annotated[int, typer.Option(help="Random graphs of each kind for each point of the curve.")] = 3,
    model: Model = None, probe: Probe = None, seed: Seed = 0, device: Device = "cpu",
    out: Annotated[Path | None, typer.Option(help="A folder for the page (circuit.html) and circuit.json.")] = None,
    notation: NotationOption = "ours", random_weights: RandomWeights = False, heads: Heads = None, act: Act = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Find the small graph of edges that keeps most of an effect, and measure it on held-out pairs.

    Pairs come from --fact, or from --pairs FILE with pairs of several games. Beside the circuit stand random graphs of
    as many edges, under resample and mean ablation.

    Example: othello-circuits circuit --fact "legal C0 via SE x1 & C0 legal" --keep "C0 empty" --metric logit:C0
    --start "C0 empty,D1 empty,D1 mine,E2 empty,E2 mine@L4" --out found

    Example: othello-circuits circuit --fact "C0 flipped" --metric "reading:C0 mine@L3" --share 0.9 --json

    In Python: circuits.causes.circuit_search.find_circuit(model, pairs, metric),
    reports.patching.circuit_page.circuit_report(model, pairs, metric, circuit)
    """
    options = c.PairOptions(
        clean, corrupt, pairs, fact, kind, tuple(keep or ()), n, plies, games, notation, seed
    )  # fmt: skip
    for name, value, least in (
        ("open-neurons", open_neurons, 0), ("max-edges", max_edges, 1), ("random-graphs", random_graphs, 0)
    ):  # fmt: skip
        if value < least:
            raise InputError(f"--{name} {value}: give at least {least}")
    for name, value in (("share", share), ("held-out", held_out)):
        if not 0 < value <= 1:
            raise InputError(f"--{name} {value}: a share above 0 and at most 1")

    from circuits.causes.circuit_search import find_circuit
    from reports.patching.circuit_page import circuit_report
    from reports.patching.circuit_words import text
    from reports.patching.metric_names import parse_subspace
    from reports.patching.page import check_folder

    if out is not None:
        check_folder(out)
    q = c.ask(options, metric, model, probe, heads, act, device, random_weights, need_probes=start is not None)
    begin, imported, given = None, "", ""
    if start is not None:
        begin = parse_subspace(start, q.model, q.probes)
        imported = "; from reports.patching.metric_names import parse_subspace"
        given = f"start=parse_subspace({start!r}, model, probes_), "
    settings = {
        "keep": share, "open_neurons": open_neurons, "max_edges": max_edges, "held_out": held_out,
        "random_graphs": random_graphs, "seed": seed,
    }  # fmt: skip
    if sys.stderr.isatty():
        c.say(f"searching on {len(q.pairs)} pairs, which takes minutes with a model of 8 layers")
    found = find_circuit(q.model, q.pairs, q.metric, start=begin, **settings)
    given += ", ".join(f"{name}={value!r}" for name, value in settings.items())
    python = (
        f"{c.imports('circuits.causes.circuit_search')}{imported}; {q.python}; "
        f"circuits.causes.circuit_search.find_circuit(model, pairs, metric, {given})"
    )
    report = circuit_report(q.model, q.pairs, q.metric, found, command=c.command(), python=python)
    lines, result = [text(found, report.pairs)], report.to_dict()
    if out is not None:
        page = report.write(out)
        lines.append(f"page: {page}")
        result = {"page": str(page), **result}
    emit(result, as_json, "\n".join(lines))
