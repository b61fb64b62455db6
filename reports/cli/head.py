"""``othello-circuits head``: one head's page, or the table of all heads."""

from pathlib import Path
from typing import Annotated

import typer

from circuits.errors import InputError
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
    Seed,
    count_or_file,
    emit,
)


def head(
    unit: Annotated[
        str | None, typer.Argument(metavar="[UNIT]", help="A head, such as L2H5. Nothing: the table of all heads.")
    ] = None,
    model: Model = None, probe: Probe = None, games: GamesOption = "4000", seed: Seed = 0, device: Device = "cpu",
    out: Annotated[Path | None, typer.Option(help="The page to write (default: UNIT.html here).")] = None,
    rule: RuleOption = None,
    random_weights: RandomWeights = False, heads: Heads = None, act: Act = None, all_plies: AllPlies = False,
    cache: Cache = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Say what one head attends to, moves and does, and write its page; or print a line for every head.

    The first call studies all heads, which takes about a minute with the bundled model; what it found is kept.

    Example: othello-circuits head L2H5 --out L2H5.html

    Example: othello-circuits head

    In Python: reports.open_model().head("L2H5"), reports.open_model().heads
    """
    from circuits.notation import parse_unit

    parsed = parse_unit(unit) if unit is not None else None  # a name that is no head's is refused before loading
    if parsed is not None and parsed.kind != "head":
        raise InputError(f"{parsed} is a neuron: see othello-circuits neuron {parsed}; a head is written like L2H5")
    if parsed is None and rule is not None:
        raise InputError("--rule is tested on one head: name it, like L2H5")
    if rule is not None:  # likewise an unreadable rule
        from circuits.rules.text import parse_claim

        parse_claim(rule)
    if parsed is None and out is not None:
        raise InputError("--out is for the page of one head: name it, like L2H5")

    from reports.heads.positions import check_games
    from reports.opening import open_model

    bench = open_model(
        model, probe, count_or_file(games), seed=seed, all_plies=all_plies, device=device, heads=heads, act=act,
        cache=cache or True, random_weights=random_weights,
    )  # fmt: skip
    if parsed is None:
        check_games(bench)
        emit(table(bench), as_json, bench.heads.table() if not as_json else "")
        return
    report = bench.head(parsed, rule=rule)
    path = report.save(out or Path(f"{parsed}.html"))
    told = report.headline
    result = {"page": str(path), "headline": told.sentence, "grade": told.grade, "record": report.record.to_dict()}
    lines = [f"{parsed}: {told.sentence}", f"  grade: {told.grade}. {told.why}", f"page: {path}"]
    emit(result, as_json, "\n".join(lines))


def table(bench) -> dict:
    """Every head's headline figures, ready for JSON; what is not known is null."""
    from dataclasses import asdict, is_dataclass
    from math import isfinite

    from circuits.notation import Unit

    def plain(value):
        if is_dataclass(value):
            return plain(asdict(value))
        if isinstance(value, dict):
            return {name: plain(v) for name, v in value.items()}
        return None if isinstance(value, float) and not isfinite(value) else value

    study, found = bench.heads, {}
    for layer in range(study.shape[0]):
        for index in range(study.shape[1]):
            unit = Unit(layer, "head", index)
            summary = study.summary(unit)
            found[str(unit)] = {
                name: plain(getattr(summary, name)) for name in summary.__dataclass_fields__ if name != "unit"
            }
    return {"about": plain(study.about), "heads": found}
