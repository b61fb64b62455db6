"""Training throughput: `circuits.training.loop` against a plain PyTorch loop, at two sizes, on the same model and
batch.

    python benchmarks/bench_training.py [--steps 5] [--sizes mini paper]

ours          one training step as `train` makes it: games from the fast generator, bf16 autocast, Muon + AdamW
plain         the same model in fp32, AdamW, batch by batch; its games come from the slow, obvious engine of the
              tests (tests/oracles.py), as a first version would be written. Timed with and without those games

Steps alternate between the two, so that a noisy machine is noisy for both; medians. The matrix-multiply rate is
this machine's for the MLP's own product in bf16, and the share counts 6 operations per weight and token.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from circuits.devices import describe
from circuits.gpt import GPT, initial_weights
from circuits.training import lessons
from circuits.training import loop as training
from circuits.training.config import SIZES, TrainConfig
from circuits.training.crew import Crew
from circuits.training.run_folder import RunFolder

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import oracles

BATCH = 64
TARGET, GENERATION_TARGET = 2.0, 0.05


def seconds(f) -> float:
    began = time.perf_counter()
    f()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def slow_games(n: int, seed: int) -> lessons.Lesson:
    """Random games square by square, with their legal moves."""
    rng = random.Random(seed)
    tokens = torch.zeros(n, 60, dtype=torch.int64)
    for game in range(n):
        board, side, played = oracles.start(), oracles.BLACK, []
        while True:
            moves = oracles.legal(board, side)
            if not moves:
                side = oracles.other(side)
                moves = oracles.legal(board, side)
                if not moves:
                    break
            square = rng.choice(moves)
            for s in [square, *oracles.flips(board, side, square)]:
                board[s] = side
            side = oracles.other(side)
            played.append(oracles.SQUARE_OF_TOKEN.index(square))
        tokens[game, : len(played)] = torch.tensor(played)
    legal = torch.zeros(n, 59, dtype=torch.int64)
    for game, row in enumerate(tokens.tolist()):
        for ply, state in enumerate(oracles.replay([oracles.SQUARE_OF_TOKEN[t] for t in row[:59] if t])):
            legal[game, ply] = sum(1 << s if s < 63 else -(1 << 63) for s in state["legal"])
    return lessons.Lesson(tokens, legal)


class Plain:
    """What one writes first: fp32, AdamW, one forward and one backward pass."""

    def __init__(self, shape, device):
        self.gpt = GPT.from_weights(shape, initial_weights(shape)).to(device).train()
        self.optimiser = torch.optim.AdamW(self.gpt.parameters(), lr=1e-3, foreach=False)

    def step(self, games: lessons.Lesson) -> None:
        logits = self.gpt(games.inputs)
        loss = lessons.total_loss(logits, games, "legal") / games.where("legal").sum()
        loss.backward()
        self.optimiser.step()
        self.optimiser.zero_grad()


def matrix_rate(shape, device) -> float:
    """FLOP/s of the MLP's first product in bf16."""
    x = torch.randn(BATCH * 59, shape.d_model, dtype=torch.bfloat16, device=device)
    w = torch.randn(shape.d_mlp, shape.d_model, dtype=torch.bfloat16, device=device)
    times = [seconds(lambda: F.linear(x, w)) for _ in range(25)]
    return 2 * x.numel() * shape.d_mlp / statistics.median(times[5:])


def bench(size: str, steps: int, device: str) -> None:
    shape = SIZES[size]
    config = TrainConfig(shape, games=10**9, batch=BATCH, log_every=10**9, first_checkpoint=10**9, eval_games=1)
    with tempfile.TemporaryDirectory() as folder, RunFolder(folder) as held:
        run = training._Run(config, held, Crew.join(device), True, False)
        plain = Plain(shape, run.device)
        made = run.source.batch(0, BATCH)
        for _ in range(3):  # compiles; fills caches
            run._one_step()
            plain.step(made)
        rate = matrix_rate(shape, run.device)
        ours, theirs = [], []
        for _ in range(steps):
            ours.append(seconds(run._one_step))
            theirs.append(seconds(lambda: plain.step(made)))
        making = [seconds(lambda i=i: run.source._make(1000 + i)) for i in range(3)]
        generation = statistics.median(making) * BATCH / run.source.chunk
    own, other = statistics.median(ours), statistics.median(theirs)
    slow = seconds(lambda: slow_games(BATCH // 8, 0)) * 8
    parameters = sum(p.numel() for p in run.gpt.parameters())
    flops = 6 * parameters * 59 * BATCH
    print(f"{size}: {parameters / 1e6:.1f} M parameters, batch {BATCH}, {describe(run.device)}")
    share = 100 * flops / own / rate
    print(f"  ours   {BATCH / own:7.0f} games/s; {share:.0f} % of the matrix rate, {rate / 1e9:.0f} GFLOP/s")
    with_slow = f"with the slow generator: ours is {(other + slow) / own:.1f} x (target {TARGET})"
    print(f"  plain  {BATCH / (other + slow):7.0f} games/s {with_slow}")
    print(f"         {BATCH / other:7.0f} games/s without making games: ours is {other / own:.1f} x")
    limit = f"(target: under {100 * GENERATION_TARGET:.0f} %)"
    print(f"  making games takes {100 * generation / own:.2f} % of our step {limit}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--sizes", nargs="+", default=["mini", "paper"], choices=list(SIZES))
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    for name in given.sizes:
        bench(name, given.steps, given.device)
