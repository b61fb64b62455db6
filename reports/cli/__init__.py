"""The command line: ``othello-circuits info | games | probe | compare | neuron | head | test | rules | report | …``.

Everything here is one documented Python call away; each command's help names it. Nothing heavy is imported
before a command runs, so that ``--help`` answers at once. Bad input ends in one line on stderr and exit
status 2; with ``--json`` stdout carries the result and nothing else.
"""

import os
import re
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from circuits.errors import InputError
from circuits.told import say, warn
from reports.cli import atlas as cli_atlas
from reports.cli import circuit as cli_circuit
from reports.cli import compare as cli_compare
from reports.cli import edit as cli_edit
from reports.cli import edit_benchmark as cli_edit_benchmark
from reports.cli import explain as cli_explain
from reports.cli import export as cli_export
from reports.cli import games as cli_games
from reports.cli import head as cli_head
from reports.cli import patch as cli_patch
from reports.cli import probe as cli_probe
from reports.cli import query as cli_query
from reports.cli import rules as cli_rules
from reports.cli import serve as cli_serve
from reports.cli import site as cli_site
from reports.cli import test as cli_test
from reports.cli import train as cli_train
from reports.cli.options import (
    Act,
    AllPlies,
    Cache,
    Device,
    GamesOption,
    Heads,
    Json,
    Model,
    Probe,
    RandomWeights,
    RuleOption,
    Rules,
    Seed,
    count_or_file,
    emit,
    read_games,
)

app = typer.Typer(
    help="Read the circuits of Othello-GPT: what a neuron or a head does, with evidence that checks itself.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(cli_games.app, name="games")
app.add_typer(cli_probe.app, name="probe")
app.command()(cli_train.train)
app.command()(cli_compare.compare)
app.command()(cli_export.export)
app.command()(cli_head.head)
app.command()(cli_test.test)
app.command()(cli_rules.rules)
app.command()(cli_atlas.atlas)
app.command()(cli_patch.patch)
app.command()(cli_circuit.circuit)
app.command()(cli_edit.edit)
app.command()(cli_edit_benchmark.edit_benchmark)
app.command()(cli_query.query)
app.command()(cli_explain.explain)
app.command()(cli_serve.serve)
app.command()(cli_site.site)

# typer carries its own copy of click, so its usage errors are reached through the one that it exports.
_UsageError = typer.BadParameter.__mro__[1]

# torch says on the CPU "can't allocate memory" or "not enough memory", on a GPU "out of memory".
_NO_MEMORY = re.compile("allocate memory|not enough memory|out of memory", re.IGNORECASE)


def main() -> None:
    """Entry point: runs a command and turns bad input into one line and exit status 2."""
    warnings.showwarning = _show_warning
    try:
        status = app(standalone_mode=False)
    except _UsageError as error:
        # Without a command the "error" is the help text itself.
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message())
            status = 2
        else:
            where = f" (see '{error.ctx.command_path} --help')" if error.ctx else ""
            status = _fail(f"{error.format_message()}{where}")
    except InputError as error:
        status = _fail(str(error))
    except (typer.Abort, KeyboardInterrupt):
        status = _fail("interrupted", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except OSError as error:
        status = _fail(f"{error.filename or 'output'}: {error.strerror or error}")
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or _NO_MEMORY.search(str(error))):
            raise
        status = _fail("out of memory: give fewer games, or in training a smaller --batch")
    sys.exit(status or 0)


def _fail(message: str, status: int = 2) -> int:
    say(message)
    return status


def _show_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    if issubclass(category, UserWarning):
        warn(str(message))


@app.command()
def info(
    model: Model = None, heads: Heads = None, act: Act = None, games: GamesOption = "300", seed: Seed = 0,
    device: Device = "cpu", random_weights: RandomWeights = False, as_json: Json = False,
) -> None:  # fmt: skip
    """Print a model's card: sizes, provenance, and how well it plays on fresh random games.

    Example: othello-circuits info --games 1000 --json

    In Python: circuits.models.load(), circuits.behaviour.play_quality(model, games)
    """
    from dataclasses import asdict

    from circuits.behaviour import play_quality
    from circuits.models import load

    set_ = read_games(games, seed)
    random_seed = seed if random_weights else None
    opened = load(model, heads=heads, act=act, device=device, random_seed=random_seed)
    q = play_quality(opened, set_, progress="playing")
    result = {
        "name": opened.name, "hash": opened.hash, "shape": asdict(opened.shape), "card": opened.card,
        "games": set_.source, "play": q.to_dict(),
    }  # fmt: skip
    s, guess = opened.shape, f"uniform guess {100 * q.chance_illegal_top1:.1f} %"
    lines = [
        f"{opened.name}   hash {opened.hash}",
        f"  {s.n_layers} layers, {s.d_model} wide, {s.n_heads} heads of {s.d_head}, {s.d_mlp} neurons a layer, {s.act}",
        *(f"  {key}: {value}" for key, value in opened.card.items() if key != "name"),
        f"on {q.games} games ({set_.source}), {q.positions:,} positions with a next move:",
        f"  illegal top-1 rate          {100 * q.illegal_top1:8.3f} %     ({guess})",
        f"  illegal probability mass    {100 * q.illegal_mass:8.3f} %     ({guess})",
        f"  KL to uniform-legal         {q.kl_to_uniform_legal:8.4f} nats  (uniform guess {q.chance_kl:.3f})",
        f"  top-N error (FP + FN)       {q.top_n_error:8.3f}       (random choice {q.chance_top_n_error:.2f})",
    ]
    emit(result, as_json, "\n".join(lines))


@app.command()
def neuron(
    unit: Annotated[str, typer.Argument(metavar="UNIT", help="A neuron, such as L5N12.")],
    model: Model = None, probe: Probe = None, games: GamesOption = "4000", seed: Seed = 0, device: Device = "cpu",
    out: Annotated[Path | None, typer.Option(help="The page to write (default: UNIT.html here).")] = None,
    rule: RuleOption = None, rules: Rules = True,
    random_weights: RandomWeights = False, heads: Heads = None, act: Act = None, all_plies: AllPlies = False,
    cache: Cache = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Say what one neuron does, and write its page, with the best rule that is found for it, or yours, put to the test.

    Example: othello-circuits neuron L5N12 --out L5N12.html

    In Python: reports.open_model().neuron("L5N12")
    """
    from circuits.notation import parse_unit
    from reports.opening import open_model

    if rule is not None:  # an unreadable rule is refused before anything is loaded
        from circuits.rules.text import parse_claim

        parse_claim(rule)

    parsed = parse_unit(unit)  # a name that is no unit's is refused before anything is loaded
    if parsed.kind != "neuron":
        raise InputError(f"{parsed} is a head: see othello-circuits head {parsed}; a neuron is written like L5N12")
    bench = open_model(
        model, probe, count_or_file(games), seed=seed, all_plies=all_plies, device=device, heads=heads, act=act,
        cache=cache or True, random_weights=random_weights,
    )  # fmt: skip
    report = bench.neuron(parsed, rule=rules if rule is None else rule)
    path = report.save(out or Path(f"{parsed}.html"))
    record = report.record
    best = record.patterns.best
    head = report.headline
    lines = [f"{record.unit}: {head.sentence}", f"  grade: {head.grade}. {head.why}"]
    if best:
        h = best.held_out
        lines.append(
            f"  best of {record.patterns.n_candidates} facts: {best.name}: held-out precision {h.precision:.3f}, "
            f"recall {h.recall:.3f}, F1 {h.f1:.3f} [{best.f1_low:.3f}, {best.f1_high:.3f}]; "
            f"always on {h.chance_f1:.3f}, shuffled {best.shuffled_f1:.3f}"
        )
    a = record.activity
    lines += [
        f"  activation: mean {a.mean:.3f}, sd {a.sd:.3f}, from {a.minimum:.3f} to {a.maximum:.3f}; above 0 in "
        f"{100 * a.share_positive:.1f} % of {a.sample.positions:,} positions of {a.sample.games:,} games",
    ]
    if record.verdict:
        lines.append(f"  rule {record.verdict.claim}: {record.verdict.grade}. {record.verdict.summary}")
    lines.append(f"page: {path}")
    result = {"page": str(path), "headline": head.sentence, "grade": head.grade, "record": record.to_dict()}
    emit(result, as_json, "\n".join(lines))


@app.command()
def report(
    units: Annotated[
        list[str] | None, typer.Argument(help="Neurons and heads; nothing: two neurons and a head a layer.")
    ] = None,
    model: Model = None, probe: Probe = None, games: GamesOption = "4000", seed: Seed = 0, device: Device = "cpu",
    out: Annotated[Path, typer.Option(help="Folder for the pages.")] = Path("report"),
    rules: Rules = True,
    random_weights: RandomWeights = False, heads: Heads = None, act: Act = None, all_plies: AllPlies = False,
    cache: Cache = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Build pages for some neurons and heads, with an index page.

    Example: othello-circuits report L5N12 L2H5 --out pages

    In Python: reports.site_build.build_site(reports.open_model(), "pages")
    """
    from circuits.notation import parse_unit
    from reports.opening import open_model
    from reports.site_build import build_site

    parsed = [parse_unit(u) for u in units or ()]
    bench = open_model(
        model, probe, count_or_file(games), seed=seed, all_plies=all_plies, device=device, heads=heads, act=act,
        cache=cache or True, random_weights=random_weights,
    )  # fmt: skip
    index, record = build_site(bench, out, parsed, rules)
    result = {"index": str(index.resolve()), "units": [e.unit for e in record.units]}
    lines = [*(f"{e.unit:>9}  {e.grade}: {e.headline}" for e in record.units), f"open {index.resolve()}"]
    emit(result, as_json, "\n".join(lines))
