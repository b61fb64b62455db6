"""Heads the slow and obvious way: one position at a time, the oracle's game engine, the model's own hooks."""

import math
from dataclasses import dataclass

import oracles
import torch


@dataclass
class Position:
    game: int
    ply: int
    state: dict  # of the oracle's engine
    squares: list[int]  # of the moves so far
    movers: list[str]  # who made them
    pattern: torch.Tensor  # [layer, head, key up to ply]
    z: torch.Tensor  # [layer, head, d_head]
    v: torch.Tensor  # [layer, head, d_head], of this position as a source
    pre: torch.Tensor  # [layer, d_model]
    mid: torch.Tensor  # [layer, d_model]
    final: torch.Tensor  # [d_model]
    scale: float


def positions(model, games, first: int, last: int) -> list[Position]:
    """Every position of plies first..last where somebody can move, in order."""
    layers = range(model.shape.n_layers)
    found = []
    for row in range(len(games)):
        moves = [oracles.SQUARE_OF_TOKEN[t] for t in games.tokens[row].tolist() if t][:59]
        kinds = ("attn.hook_pattern", "attn.hook_z", "attn.hook_v", "hook_resid_pre", "hook_resid_mid")
        end = f"blocks.{layers[-1]}.hook_resid_post"
        names = [f"blocks.{i}.{kind}" for i in layers for kind in kinds] + ["ln_final.hook_scale", end]
        _, acts = model.run(games.inputs[row : row + 1], save=names)
        states = oracles.replay(moves)
        movers = [oracles.BLACK] + [state["side"] for state in states[:-1]]
        for ply in range(first, min(last, len(states) - 1) + 1):
            if not states[ply]["legal"]:
                continue
            pattern, z, v, pre, mid = (torch.stack([acts[f"blocks.{i}.{kind}"][0] for i in layers]) for kind in kinds)
            found.append(
                Position(
                    row, ply, states[ply], moves[: ply + 1], movers[: ply + 1], pattern[:, :, ply, : ply + 1],
                    z[:, ply], v[:, ply], pre[:, ply], mid[:, ply], acts[end][0, ply],
                    float(acts["ln_final.hook_scale"][0, ply]),
                )
            )  # fmt: skip
    return found


def categories(p: Position) -> dict[str, set[int]]:
    """The sources of each category, by the words of `circuits.head_sources`."""
    mine, board, here = p.state["side"], p.state["board"], p.squares[-1]
    found = {name: set() for name in (
        "itself", "mine", "theirs", "first", "now mine", "now theirs", "turned", "flipped", "in line", "beside",
    )}  # fmt: skip
    for k, (square, mover) in enumerate(zip(p.squares, p.movers, strict=True)):
        down, right = abs(square // 8 - here // 8), abs(square % 8 - here % 8)
        tests = {
            "itself": k == p.ply,
            "mine": k != p.ply and mover == mine,
            "theirs": k != p.ply and mover != mine,
            "first": k == 0 and p.ply > 0,
            "now mine": board[square] == mine,
            "now theirs": board[square] == oracles.other(mine),
            "turned": board[square] != mover,
            "flipped": square in p.state["flipped"],
            "in line": k != p.ply and (down == 0 or right == 0 or down == right),
            "beside": max(down, right) == 1,
        }
        for name, holds in tests.items():
            if holds:
                found[name].add(k)
    return found


def attention(found: list[Position], category: str) -> tuple[torch.Tensor, float]:
    """Mean attention [layer, head] to a category, and that of uniform attention."""
    paid, even = 0.0, 0.0
    for p in found:
        sources = sorted(categories(p)[category])
        paid = paid + p.pattern[..., sources].sum(-1).double()
        even += len(sources) / (p.ply + 1)
    return paid / len(found), even / len(found)


def means_by_ply(found: list[Position], of) -> dict[int, torch.Tensor]:
    """The mean of a quantity at every ply."""
    by_ply: dict[int, list] = {}
    for p in found:
        by_ply.setdefault(p.ply, []).append(of(p).double())
    return {ply: torch.stack(values).mean(0) for ply, values in by_ply.items()}


def total_variation(found: list[Position], means: dict[int, torch.Tensor]) -> torch.Tensor:
    """Mean over positions of half the absolute difference from the mean pattern, [layer, head]."""
    return sum((p.pattern.double() - means[p.ply]).abs().sum(-1) / 2 for p in found) / len(found)


def holds(p: Position, fact: str, square: int) -> bool | None:
    """Whether a fact holds; None where neither of its sides does."""
    disc, mine = p.state["board"][square], p.state["side"]
    if fact == "mine":
        return None if disc == oracles.EMPTY else disc == mine
    if fact == "empty":
        return disc == oracles.EMPTY
    return {"played": square == p.squares[-1], "flipped": square in p.state["flipped"],
            "legal": square in p.state["legal"]}[fact]  # fmt: skip


def gap(values: list[tuple[float, bool | None]]) -> float:
    """The mean where something holds less that where it fails."""
    yes = [value for value, held in values if held]
    no = [value for value, held in values if held is False]
    return sum(yes) / len(yes) - sum(no) / len(no) if yes and no else math.nan
