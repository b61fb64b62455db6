"""A small atlas of the tiny model, with random probes, invented rules, and every other stage as it is."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import synthetic_rules
import torch

from circuits import plain
from circuits.activations import points
from circuits.atlas.ablation_tally import Ablations
from circuits.atlas.ablations import ablate_units, drawn_moves
from circuits.atlas.move_effects import MoveEffects
from circuits.atlas.plan import FORMAT
from circuits.atlas.results import Results
from circuits.atlas.streamed import streamed
from circuits.atlas.tables import write_tables
from circuits.atlas.work import neuron_means
from circuits.board_readers import BoardReader
from circuits.directions import board_directions
from circuits.games import generate
from circuits.heads import profile_heads
from circuits.mining import mine
from circuits.notation import LABELS, PLAYABLE, parse_unit
from circuits.patterns import Gallery

BAND = slice(5, 54)
KEY = "0123456789abcdef"
#: of each layer, the first so many neurons are scored against facts (it takes a while)
SCORED = 24


@cache
def results() -> Results:
    model = plain.load(Path(__file__).parent / "assets" / "tiny.safetensors")
    games, generator = generate(40, seed=3), torch.Generator().manual_seed(0)
    readers, directions = {}, {}
    for hook in points(model.shape):
        weight = torch.randn(model.shape.d_model, 64, 3, generator=generator)
        readers[hook] = BoardReader(hook, weight, torch.zeros(64, 3))
        directions[hook] = board_directions(weight, hook, "random")
    passed = streamed(model, games, readers, BAND, k=3)
    gallery = Gallery(mine(model, games, k=1, sample_games=40), games)
    rest = (None,) * (model.shape.d_mlp - SCORED)
    scores = {
        layer: (*(gallery.score(model.unit(f"L{layer}N{n}")) for n in range(SCORED)), *rest)
        for layer in range(model.shape.n_layers)
    }
    return Results(
        model, readers, directions, games, passed, scores,
        synthetic_rules.table(3, 128, census=True, model=model.hash),
        profile_heads(model, games[:20], games[20:], directions, band=BAND),
        ablate_units(model, games[:3], neuron_means(passed.mining), passed.heads.mean_z(), BAND),
        (0, 1, 2), None,
        {"format": FORMAT, "key": KEY, "model": model.hash, "model_name": model.name, "games_source": games.source},
    )  # fmt: skip


def planted_ablations(planted: Sequence[tuple[str, Sequence[str], float, float]], positions: int = 160) -> Ablations:
    """Those of `results`, but with noise for what units add to moves, and causes planted in it.

    Args:
        planted: unit, squares of moves, what it adds to each of these where it is legal, and where it is not.
    """
    model, generator = results().model, torch.Generator().manual_seed(5)
    tally = MoveEffects.empty(model.shape)
    for game in range(positions):
        legal = torch.rand(60, generator=generator) < 0.3
        illegal = ~legal & (torch.rand(60, generator=generator) < 0.7)
        neurons, heads = (
            0.2 * torch.randn(model.shape.n_layers, units, 60, generator=generator, dtype=torch.float64)
            for units in (model.shape.d_mlp, model.shape.n_heads)
        )
        for name, squares, here, not_here in planted:
            unit = parse_unit(name)
            for move in (PLAYABLE.index(LABELS.index(square)) for square in squares):
                own = neurons if unit.kind == "neuron" else heads
                own[unit.layer, unit.index, move] += here if legal[move] else not_here
        drawn = drawn_moves(game, legal | illegal, int(legal.sum()))
        tally.add(neurons, heads, legal, illegal, drawn, 5 + game % 48)
    found = Ablations.of_tensors(results().ablations.tensors())
    found.moves = tally
    return found


def write(folder: Path, found: Results | None = None, **changed) -> Path:
    """Tables and manifest in a folder, as a run leaves them."""
    found = replace(found or results(), **changed)
    folder.mkdir(parents=True, exist_ok=True)
    sums = write_tables(found, lambda name, data: (folder / name).write_bytes(data) and None)
    listed = {name: {"file": f"{name}.parquet", "sha256": checksum} for name, checksum in sums.items()}
    manifest = {"format": FORMAT, "key": found.provenance["key"], "provenance": found.provenance, "tables": listed}
    (folder / "atlas.json").write_text(json.dumps(manifest))
    return folder
