"""``othello-circuits test``: a rule tried on a unit, and the verdict."""

from pathlib import Path
from typing import Annotated

import typer

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
    Seed,
    count_or_file,
    emit,
)


def test(
    unit: Annotated[
        str,
        typer.Argument(
            metavar="UNIT",
            help="A neuron (L5N1393), a head (L2H5), several neurons (L5N3,L5N7), or a direction (L4 post C0 mine).",
        ),
    ],
    rule: Annotated[
        str,
        typer.Argument(
            metavar="RULE", help='Such as "C0 empty & D1 theirs & E2 mine", and what it writes: "… => +C0, B4 theirs".'
        ),
    ],
    model: Model = None, probe: Probe = None, games: GamesOption = "4000", seed: Seed = 0, device: Device = "cpu",
    out: Annotated[Path | None, typer.Option(help="A page to write.")] = None,
    random_weights: RandomWeights = False, heads: Heads = None, act: Act = None, all_plies: AllPlies = False,
    cache: Cache = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Test what a unit is said to compute: does the rule fit, beat its rivals, and cause; with a grade.

    Rules: facts on squares (C0 empty, mine, theirs, occupied, black, white, legal, flipped; A4 played), lines (legal C0
    via SE x1), counts (flips >= 3, ply 10..20), black to move; & | ! and brackets; @-1 for a ply earlier.

    Example: othello-circuits test L4N765 "C0 empty & B0 theirs & A0 mine => +C0" --out verdict.html

    In Python: reports.open_model().test("L4N765", "C0 empty & B0 theirs & A0 mine => +C0")
    """
    from circuits.rules.text import parse_claim

    claim = parse_claim(rule)  # an unreadable rule is refused before anything is loaded

    from reports.opening import open_model

    bench = open_model(
        model, probe, count_or_file(games), seed=seed, all_plies=all_plies, device=device, heads=heads, act=act,
        cache=cache or True, random_weights=random_weights,
    )  # fmt: skip
    report = bench.test(unit, claim)
    result = {"verdict": report.verdict.to_dict()}
    text = report.text
    if out is not None:
        path = report.save(out)
        result["page"] = str(path)
        text += f"\npage: {path}"
    emit(result, as_json, text)
