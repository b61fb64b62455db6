"""A full activation-patching sweep against `transformer_lens.patching`, for equal results.

    python benchmarks/bench_patching.py [--pairs 100] [--repeats 3] [--peer-repeats 1]   (20 minutes; --pairs 10: 3)

The work: {stream before, attention out, MLP out} x layer x ply, and every head at all plies, clean into corrupt, over
pairs of 59 moves whose first difference is spread evenly over plies 5..45 and whose metric is a logit difference at
the last ply. Both sides run without gradients, keep an effect per pair, and must agree to 1e-4.

`transformer_lens.patching` runs the whole model on the whole batch for every cell. Ours starts at the patched layer
and ply and leaves out plies before the first difference. The multiplications saved are counted, not timed. The
table by ply of the first difference divides both sides' time by pairs; TransformerLens's does not depend on it.
"""

import argparse
import itertools
import statistics
import threading
import time
from pathlib import Path

import torch
from transformer_lens import patching as peer

from circuits import models, plain
from circuits.bitboards import SELECT_IN_BYTE, choose
from circuits.causes import metrics
from circuits.causes.pairs import Pairs
from circuits.causes.patching import BATCH, CHUNK, sweep
from circuits.hashing import mix64
from circuits.models import OthelloModel
from circuits.notation import N_CTX, PLAYABLE, SQUARE_TOKEN
from circuits.othello import random_games, replay

TARGET, TOLERANCE = 10.0, 1e-4
FIRST, LAST = 5, 45
SEED, TRIES = 3_000_017, 64


def branched_pairs(n: int) -> Pairs:
    """Pairs of 59 moves that share a start and then go their own ways, first differing at plies spread evenly."""
    first = torch.linspace(FIRST, LAST, n).round().long().repeat_interleave(TRIES)
    clean = random_games(len(first), SEED)[:, :N_CTX].long()
    corrupt = clean.masked_fill(torch.arange(N_CTX) >= first[:, None], 0)
    for ply in range(FIRST, N_CTX):
        legal = replay(corrupt[:, :ply]).legal[:, -1]
        own = torch.tensor((0, *PLAYABLE))[clean[:, ply]]
        legal = torch.where(first == ply, legal & ~(torch.ones_like(own) << own), legal)
        move = choose(legal, mix64(torch.arange(len(first)) * 64 + ply), SELECT_IN_BYTE)
        token = SQUARE_TOKEN[move].masked_fill(legal == 0, 0)
        corrupt[:, ply] = torch.where(first <= ply, token, corrupt[:, ply])
        corrupt[:, ply].masked_fill_(corrupt[:, ply - 1] == 0, 0)
    whole = ((clean[:, -1] != 0) & (corrupt[:, -1] != 0)).nonzero().flatten()
    end, other = (replay(tokens[whole])[:, -1] for tokens in (clean, corrupt))
    good = end.valid & other.valid & (end.black_to_move == other.black_to_move)
    rows = whole[good]
    chosen = [int(rows[rows // TRIES == i][0]) for i in range(n)]
    return Pairs.of(clean[chosen], corrupt[chosen], source="random games that branch")


def moves_told_apart(pairs: Pairs) -> tuple[list[int], list[int]]:
    """For each pair two playable squares: a move legal in the clean position, another one."""
    legal = [[s for s in PLAYABLE if bits >> s & 1] for bits in pairs.clean_end.legal.tolist()]
    other = [[s for s in PLAYABLE if not bits >> s & 1] for bits in pairs.clean_end.legal.tolist()]
    return [a[0] for a in legal], [b[0] for b in other]


def by_transformer_lens(model: OthelloModel, pairs: Pairs) -> tuple[torch.Tensor, torch.Tensor]:
    """Effects [kind, layer, ply, pair] and [head, pair]."""
    clean, corrupt = (tokens[:, :N_CTX].long() for tokens in (pairs.clean, pairs.corrupt))
    a, b = (SQUARE_TOKEN[torch.tensor(squares)] for squares in moves_told_apart(pairs))
    row = torch.arange(len(pairs))

    def difference(logits):
        return logits[row, -1, a] - logits[row, -1, b]

    with torch.no_grad():
        _, cache = model.bridge.run_with_cache(clean)
        before = difference(model.bridge(corrupt))
        blocks = peer.get_act_patch_block_every(model.bridge, corrupt, cache, difference, reduce="none")
        heads = peer.get_act_patch_attn_head_out_all_pos(model.bridge, corrupt, cache, difference, reduce="none")
    return blocks.values - before, heads.values.flatten(0, 1) - before


def ours(model: OthelloModel, pairs: Pairs) -> tuple[torch.Tensor, torch.Tensor]:
    """The same effects."""
    metric = metrics.logit_difference(*moves_told_apart(pairs))
    blocks = sweep(model, pairs, metric, ("pre", "attn", "mlp"), direction="clean → corrupt").effects[0]
    heads = sweep(model, pairs, metric, ("head",), by_ply=False, direction="clean → corrupt").effects[0]
    return blocks.unflatten(0, (3, -1)), heads[:, 0]


def multiplications(model: OthelloModel, pairs: Pairs) -> tuple[float, float]:
    """Multiply-adds of the weight matrices: (TransformerLens's sweep, ours); attention itself is left out of both."""
    s = model.shape
    attn, mlp = 4 * s.d_model * s.d_model, 2 * s.d_model * s.d_mlp
    theirs = len(pairs) * N_CTX * s.n_layers * (attn + mlp) * (3 * s.n_layers * N_CTX + s.n_layers * s.n_heads)
    total = 0.0

    def tail(layer: int, plies: int) -> float:  # blocks `layer`.., the last of them at one query
        blocks = s.n_layers - layer
        if blocks <= 0:
            return 0.0
        return (blocks - 1) * plies * (attn + mlp) + plies * attn / 2 + attn / 2 + mlp

    for first in pairs.first.tolist():
        for layer in range(s.n_layers):
            for ply in range(first, N_CTX):
                plies = N_CTX - ply
                total += tail(layer, plies) + 2 * tail(layer + 1, plies) + mlp
            plies = N_CTX - first
            total += s.n_heads * (tail(layer + 1, plies) + plies * mlp)
    return theirs, total


class Peak:
    """The largest resident memory while the block runs, above what it was before; sampled every 5 ms."""

    def __enter__(self) -> "Peak":
        self.before, self.most, self.done = _resident(), 0, threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def _watch(self) -> None:
        while not self.done.wait(0.005):
            self.most = max(self.most, _resident() - self.before)

    def __exit__(self, *_) -> None:
        self.done.set()
        self.thread.join()


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def timed(work, *arguments) -> tuple[float, tuple]:
    start = time.perf_counter()
    result = work(*arguments)
    return time.perf_counter() - start, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peer-repeats", type=int, default=1)
    given = parser.parse_args()
    model = models.load()
    pairs = branched_pairs(given.pairs)
    light = plain.of(model)
    s = model.shape
    print(f"{model.name} {s.n_layers} x {s.d_model}, {len(pairs)} pairs, {torch.get_num_threads()} threads")
    ours(light, pairs[:2])
    with Peak() as peak:
        results = [timed(ours, light, pairs) for _ in range(given.repeats)]
    mine = statistics.median(seconds for seconds, _ in results)
    theirs = []
    for _ in range(given.peer_repeats):
        seconds, want = timed(by_transformer_lens, model, pairs)
        theirs.append(seconds)
    other = statistics.median(theirs)
    gap = max(float((a - b).abs().max()) for a, b in zip(want, results[0][1], strict=True))
    largest = float(want[0].abs().max())
    print(f"transformer_lens.patching   {other:8.1f} s")
    print(f"circuits.causes.patching.sweep     {mine:8.1f} s   (median of {given.repeats})")
    print(f"ratio                       {other / mine:8.1f}     target {TARGET:.0f}")
    print(f"largest gap                 {gap:8.1e}     of effects up to {largest:.1f}; tolerance {TOLERANCE:.0e}")
    full, part = multiplications(model, pairs)
    print(f"multiply-adds               {full:8.2e} -> {part:.2e}: {full / part:.1f} x fewer")
    # Two recordings, and what one batch of positions works with: a dozen streams, a few tables of attention.
    bound = 2 * 4 * CHUNK * N_CTX * s.n_layers * 6 * s.d_model / 1e6
    bound += 4 * BATCH * (12 * s.d_model + 4 * s.n_heads * N_CTX) / 1e6
    print(f"memory above the model      {peak.most / 1e6:8.0f} MB   bound {bound:.0f} MB, for any number of pairs")
    print("first difference   pairs   ours s/pair   ratio   multiply-adds saved")
    edges = [FIRST, 13, 21, 29, 37, LAST + 1]
    for low, high in itertools.pairwise(edges):
        part = pairs[(pairs.first >= low) & (pairs.first < high)]
        seconds = statistics.median(timed(ours, light, part)[0] for _ in range(given.repeats)) / len(part)
        a, b = multiplications(model, part)
        ratio = other / len(pairs) / seconds
        print(f"plies {low:2d}..{high - 1:2d}      {len(part):5d}   {seconds:11.3f}   {ratio:5.1f}   {a / b:10.1f} x")
    assert gap <= TOLERANCE * max(1.0, largest), "the two sweeps disagree"


if __name__ == "__main__":
    main()
