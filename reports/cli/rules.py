"""``othello-circuits rules``: the rules of all neurons, as a table and as a page."""

from pathlib import Path
from typing import Annotated

import typer

from circuits.errors import InputError
from circuits.told import say
from reports.cli import pairs as cli_pairs
from reports.cli.edit import parse_layers
from reports.cli.options import (
    Act,
    AllPlies,
    Cache,
    Device,
    Heads,
    Json,
    Model,
    Probe,
    RandomWeights,
    Seed,
    count_or_file,
    emit,
)

#: what the Python line of a page leaves out
DEFAULTS = {"seed": 0, "depth": 8, "resamples": 0}


def rules(
    out: Annotated[Path, typer.Option(help="Folder for the table, the page, and finished layers.")],
    model: Model = None, probe: Probe = None,
    games: Annotated[
        str, typer.Option(metavar="N|FILE", help="A number of random games, of their own for this, or a games file.")
    ] = "2000",
    seed: Seed = 0,
    layers: Annotated[
        str | None, typer.Option(metavar="LAYERS", help="Such as 5, 2-4 or 0,2-4; nothing: all.")
    ] = None,
    depth: Annotated[int, typer.Option(help="Depth of the trees.")] = 8,
    resamples: Annotated[
        int, typer.Option(help="Random halves of the training games on which all rules are found again.")
    ] = 0,
    replaced: Annotated[
        bool, typer.Option("--replaced/--no-replaced", help="Run the model with rules in the place of its neurons.")
    ] = True,
    trial: Annotated[
        Path | None, typer.Option(help="The trial on planted rules (benchmarks/planted.py) for the page.")
    ] = None,
    device: Device = "cpu", random_weights: RandomWeights = False, heads: Heads = None, act: Act = None,
    all_plies: AllPlies = False, cache: Cache = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Find the rule of every neuron, and say how much of the model the rules explain.

    Writes rules.parquet and rules.json (a row a neuron), model.html and model.json. Finished layers are kept in the
    folder: the same command, cut off and given again, goes on. Pages of neurons use the table of a whole model.

    Example: othello-circuits rules --out found

    Example: othello-circuits rules --out quick --layers 5 --games 800 --no-replaced --json

    In Python: circuits.induction.run.find_rules(model, games, readers=probes.board_readers()),
    reports.open_model().rules
    """
    chosen, number = parse_layers(layers), count_or_file(games)

    from circuits import plain
    from circuits.files import cache_folder
    from circuits.games import MIDDLE_BAND, load
    from circuits.induction import kept
    from circuits.induction.run import find_rules, games_for_rules
    from circuits.notation import N_CTX
    from reports.model.page import rules_report
    from reports.patching.page import check_folder

    check_folder(out)
    tried = trial and read_trial(trial)
    opened = plain.load(
        model, heads=heads, act=act, device=device, random_seed=seed if random_weights else None
    )  # fmt: skip
    found = find_rules(
        opened, games_for_rules(number, seed) if isinstance(number, int) else load(number),
        readers=readers(opened, probe, random_weights), band=slice(0, N_CTX) if all_plies else MIDDLE_BAND, seed=seed,
        layers=chosen, depth=depth, resamples=resamples, replace_neurons=replaced, folder=out / "layers",
    )  # fmt: skip
    tables = [str(found.table.save(out / f"rules.{ending}")) for ending in ("parquet", "json")]
    if found.table.layers == tuple(range(opened.shape.n_layers)):
        own, said = keep(found.table, cache or cache_folder())
    else:
        own, said = None, "not kept for neuron pages: not all layers of the model"
    report = rules_report(
        opened, found, tried or kept.trial_of(opened.hash), command=cli_pairs.command(),
        python=python(number, seed, chosen, depth, resamples, {"heads": heads, "act": act}, model, probe, all_plies,
                      replaced)
        if not random_weights else "",
    )  # fmt: skip
    record = report.record
    page = report.write(out)
    result = {
        "page": str(page), "tables": tables, "kept": own, "resumed": list(found.resumed),
        "provenance": found.table.provenance.to_dict(), "layers": [x.to_dict() for x in record.layers],
        "replaced": record.replaced and record.replaced.to_dict(),
    }  # fmt: skip
    emit(result, as_json, "\n".join([*text(report), *(f"table: {path}" for path in tables), said, f"page: {page}"]))


def keep(table, cache: Path) -> tuple[str | None, str]:
    """Leave the table of a whole model where pages of neurons look for it; its path there, and what came of it."""
    from circuits.induction import kept

    path = kept.path_in(cache, table.provenance.model)
    if not kept.keep(table, cache):
        return None, f"not kept for neuron pages: a better table (more games, resamples or depth) is there: {path}"
    if kept.table_of(table.provenance.model, cache).provenance != table.provenance:
        return str(path), f"kept: {path}; neuron pages go on using the one in the package, which is as good or better"
    return str(path), f"kept for neuron pages: {path}"


def python(
    games: int | str, seed: int, layers: tuple[int, ...] | None, depth: int, resamples: int, stored: dict,
    model: str | None, probe: str | None, all_plies: bool, replaced: bool,
) -> str:  # fmt: skip
    """The line that makes the report again."""
    given = ", ".join(
        [repr(model)] * (model is not None)
        + [f"{name}={value!r}" for name, value in stored.items() if value is not None]
    )
    drawn = f"games_for_rules({games}, {seed})" if isinstance(games, int) else f"load({games!r})"
    options = {"seed": seed, "layers": layers, "depth": depth, "resamples": resamples}
    some = "".join(f", {name}={value!r}" for name, value in options.items() if value not in (None, DEFAULTS.get(name)))
    some += ", band=slice(0, 59)" * all_plies + ", replace_neurons=False" * (not replaced)
    read = f"probes.load(model{', ' + repr(probe) if probe else ''}).board_readers()"
    return (
        "import probes; from circuits import plain; from circuits.games import load; "
        "from circuits.induction.run import find_rules, games_for_rules; "
        f"from reports.model.page import rules_report; model = plain.load({given}); "
        + (f"readers = {read}; " if model is None or probe else "readers = None; ")
        + f"report = rules_report(model, find_rules(model, {drawn}, readers=readers{some}))"
    )


def read_trial(path: Path):
    """What `benchmarks/planted.py` wrote.

    Raises:
        InputError: no such file, or none of these.
    """
    from circuits.trial.records import Trial

    try:
        return Trial.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        raise InputError(f"--trial {path}: no readable file; benchmarks/planted.py --out writes one") from None
    except InputError as error:
        raise InputError(f"--trial {path}: {error}") from None


def readers(model, probe: str | None, random_weights: bool):
    """The board probes of a model; None, with a word on stderr, where there are none."""
    import probes

    if probe is None and (random_weights or not model.is_bundled):
        say(f"no probes for {model.name}: what neurons write to the checkpoint is left out (--probe gives them)")
        return None
    return probes.load(model, probe).board_readers(model.device)


def text(report) -> list[str]:
    """The headline and a line for each layer."""
    from reports.model import words as w

    r = report.record
    lines = [w.headline(r), w.how(r), "", "layer  neurons  explained  in part  by ply  no rule  dead  tree > 0.7"]
    for x in r.layers:
        lines.append(
            f"{'L' + str(x.layer):>5} {x.neurons:>8} {x.explained:>10} {x.partly:>8} {x.clock:>7} {x.unexplained:>8} "
            f"{x.dead:>5} {x.tree:>11}"
        )
    lines += ["", w.unexplained(r), w.shuffled(r)]
    return [*lines, w.replaced(r, r.replaced)] if r.replaced else lines
