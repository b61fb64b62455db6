"""``othello-circuits edit-benchmark``: every way of editing the board, on boards that games reach or cannot."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from reports.cli.options import Act, Cache, Device, Heads, Json, Model, Probe, RandomWeights, Seed, emit


def edit_benchmark(
    cases: Annotated[int, typer.Option(metavar="N", help="Natural cases, and as many unnatural; 0 for none.")] = 1000,
    tune: Annotated[int, typer.Option(metavar="N", help="Tuning cases of either kind, of other games.")] = 100,
    least_changed: Annotated[
        int,
        typer.Option("--least-changed", metavar="N", help="Moves at least that an edit makes legal or illegal, 0..20."),
    ] = 1,
    file: Annotated[
        list[str] | None,
        typer.Option("--file", metavar="FILE", help="Cases of a file, published or our own; may be repeated."),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help='Which methods, as in "class mean,gradient" (default: all eight).'),
    ] = None,
    rollouts: Annotated[int, typer.Option(metavar="N", help="Cases of each set rolled out over ten moves.")] = 300,
    two_squares: Annotated[
        int, typer.Option("--two-squares", metavar="N", help="Natural cases with two squares edited; 0 for none.")
    ] = 200,
    saliency: Annotated[int, typer.Option(metavar="N", help="Positions of saliency maps; 0 for none.")] = 100,
    model: Model = None, probe: Probe = None, seed: Seed = 0, device: Device = "cpu", cache: Cache = None,
    out: Annotated[Path | None, typer.Option(help="A folder for benchmark.html, benchmark.json and the cases.")] = None,
    random_weights: RandomWeights = False, heads: Heads = None, act: Act = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Tune every way of writing an edited board into the model, and measure it on held-out cases.

    Natural cases are boards that another game of equal length reaches, unnatural ones boards that none can. All eight
    methods on 1000 + 1000 cases take long; --cases 100 --methods "class mean,negate" gives a first look.

    Example: othello-circuits edit-benchmark --cases 100 --tune 30 --methods "class mean,negate" --out benchmark

    In Python: reports.edits.benchmark_build.measure(reports.open_model().editor, Plan(cases=100, tune=30))
    """
    from circuits.editing.interventions import METHODS
    from reports.cli import pairs as c
    from reports.cli.edit import open_editing
    from reports.edits import benchmark_words as words
    from reports.edits.benchmark_build import Plan, files_of, measure, record, stage
    from reports.edits.benchmark_build import text as table
    from reports.edits.benchmark_page import BenchmarkReport
    from reports.edits.build import probe_words
    from reports.patching.page import check_folder

    named = METHODS if methods is None else tuple(m.strip() for m in methods.split(",") if m.strip())
    plan = Plan(cases, tune, least_changed, tuple(file or ()), named, rollouts, two_squares, saliency, seed)
    if out is not None:
        check_folder(out)
    files = plan.read_files()
    contrast = "contrast" in plan.methods
    opened, probes, editor = open_editing(
        model, probe, seed, device, cache, random_weights, heads, act, contrast=contrast
    )
    print(plan.runs(opened.shape.n_layers, files), file=sys.stderr, flush=True)
    stage(True, "making cases")
    measured = measure(editor, plan, plan.sets(files), progress=True)
    given = ", ".join(
        f"{name}={value!r}"
        for name, value in (("model", model), ("probe", probe), ("heads", heads), ("act", act))
        if value is not None
    )
    bench = f"open_model({given}{', ' * bool(given and random_weights)}{'random_weights=True' * random_weights})"
    python = (
        "from reports import open_model; from reports.edits.benchmark_build import Plan, measure; "
        f"measure({bench}.editor{'_with_contrasts' * contrast}, {plan!r})"
    )
    found = record(measured, editor, probe_words(probes), c.command(), python, seed)
    lines = [words.headline(found), table(measured), *words.rolled(found)]
    result = found.to_dict()
    if out is not None:
        from circuits.editing.cases import save

        page = BenchmarkReport(found).write(out)
        for name, own in files_of(measured.sets):
            save(own, out / name)
        lines.append(f"page: {page}")
        result = {"page": str(page), **result}
    emit(result, as_json, "\n".join(lines))
