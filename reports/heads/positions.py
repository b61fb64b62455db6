"""Positions drawn on a head's page: those with patterns farthest from the mean of their ply, and random ones."""

import torch

from circuits.errors import InputError
from circuits.games import Games, generate
from circuits.head_sources import CATEGORIES, source_masks
from circuits.notation import LABELS, PLAYABLE, Unit
from circuits.othello import bits_to_bool
from circuits.plain import of
from reports.fit_records import Sample
from reports.heads import records as hr
from reports.workbench import Workbench

#: held-out games whose patterns are kept, for all pages of heads
GAMES = 24
N_FARTHEST, N_RANDOM = 6, 6


def patterns_of(bench: Workbench, layer: int) -> torch.Tensor:
    """A layer's patterns [game, head, query, key] on the example games; pages of heads share one forward pass."""
    if not bench._patterns:
        hooks = [f"blocks.{i}.attn.hook_pattern" for i in range(bench.model.shape.n_layers)]
        _, acts = of(bench.model).run(example_games(bench).inputs, save=hooks)
        bench._patterns.update((i, acts[hook].cpu()) for i, hook in enumerate(hooks))
    return bench._patterns[layer]


def check_games(bench: Workbench) -> None:
    """Refuse games too few to be split, and say how many random ones would do.

    Raises:
        InputError: one side of the split is empty.
    """
    try:
        _ = bench.head_games
    except InputError:
        least, games = len(bench.games), "1 game" if len(bench.games) == 1 else f"{len(bench.games)} games"
        while not _splits(generate(least, bench.seed), bench.seed):
            least += 1
        raise InputError(
            f"{games}: a head is studied on one part of the games and tested on the other, which with seed "
            f"{bench.seed} takes at least {least} random games"
        ) from None


def _splits(games: Games, seed: int) -> bool:
    """Whether both halves have a game."""
    try:
        return bool(games.split(0.5, seed))
    except InputError:
        return False


def example_games(bench: Workbench):
    """The first of the held-out games."""
    return bench.head_games[1][:GAMES]


def attended(bench: Workbench, unit: Unit) -> tuple[hr.AttendedList, ...]:
    """The two lists of a page."""
    games = example_games(bench)
    boards = games.boards()
    where = torch.zeros_like(boards.valid)
    where[:, bench.plies] = boards.valid[:, bench.plies]
    pattern = patterns_of(bench, unit.layer)[:, unit.index]
    distance = (pattern - bench.heads.means.pattern[unit.layer, unit.index]).abs().sum(-1) / 2
    shares = torch.einsum("gqk,gqkm->gqm", pattern, source_masks(games, boards)[..., :3].float())
    assert CATEGORIES[:3] == ("itself", "mine", "theirs")

    best = distance.masked_fill(~where, -1).max(1)
    order = best.values.argsort(descending=True, stable=True)[:N_FARTHEST]
    farthest = [(int(g), int(best.indices[g])) for g in order if best.values[g] >= 0]
    rows, plies = where.nonzero().T
    generator = torch.Generator().manual_seed(bench.seed)
    drawn = torch.randperm(len(rows), generator=generator)[:N_RANDOM].tolist()
    random = [(int(rows[i]), int(plies[i])) for i in drawn]

    def show(g: int, ply: int) -> hr.Attended:
        mine, theirs, flipped, legal = (
            bits_to_bool(getattr(boards, name)[g, ply]).nonzero().squeeze(1).tolist()
            for name in ("mine", "theirs", "flipped", "legal")
        )
        moves = [LABELS[PLAYABLE[t - 1]] for t in games.tokens[g, : ply + 1].tolist()]
        return hr.Attended(
            address=str(games.address(g, ply)),
            ply=ply,
            distance=float(distance[g, ply]),
            transcript=" ".join(moves),
            board=tuple(2 if s in mine else 1 if s in theirs else 0 for s in range(64)),
            mover="black" if boards.black_to_move[g, ply] else "white",
            last=moves[-1],
            flipped=tuple(LABELS[s] for s in flipped),
            legal=tuple(LABELS[s] for s in legal),
            pattern=tuple(pattern[g, ply, : ply + 1].tolist()),
            **{name: float(shares[g, ply, i]) for i, name in enumerate(CATEGORIES[:3])},
        )

    sample = Sample("held-out", len(games), int(where.sum()), "the first of the held-out games")
    note = "those whose pattern lies farthest from the mean pattern of their ply, one per game"
    return (
        hr.AttendedList("farthest", note, sample, tuple(show(*at) for at in farthest)),
        hr.AttendedList("random", f"drawn evenly, seed {bench.seed}", sample, tuple(show(*at) for at in random)),
    )
