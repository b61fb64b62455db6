"""How a model in training plays games that it was never shown."""

from collections import Counter

import torch

from circuits.games import Games
from circuits.gpt import GPT
from circuits.training import lessons
from circuits.training.progress import SHORT

#: games in one forward pass
BATCH = 128


@torch.no_grad()
def held_out_figures(gpt: GPT, games: Games, objective: str) -> dict:
    """The objective and the figures of `circuits.behaviour`, as means over the positions of ``games``.

    In the precision of the weights: rounding to bf16 swaps near-ties of legal and illegal moves (0.50 % illegal first
    choices of one model became 0.55 %).
    """
    gpt.eval()
    device = gpt.embed.device
    sums: Counter[str] = Counter()
    loss, count = 0.0, 0
    for part in games.batches(BATCH):
        shown = lessons.lesson(part.tokens.to(device))
        logits = gpt(shown.inputs)
        loss += float(lessons.total_loss(logits, shown, objective))
        count += int(shown.where(objective).sum())
        sums.update(lessons.figures(logits, shown))
    positions = sums.pop("positions")
    shares = {SHORT.get(name, name): value / positions for name, value in sums.items()}
    return {"eval_games": len(games), "loss": loss / count, **shares}
