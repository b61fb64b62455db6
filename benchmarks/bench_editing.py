"""Seconds to edit the board in 1000 cases, beside a loop over cases through TransformerLens hooks; and for 100 maps.

    python benchmarks/bench_editing.py [--cases 1000] [--repeats 3]

One method (the default) on natural cases at their last ply, everything included: the unedited passes, the edits, the
scores. The loop runs `--loop` of the same cases one by one, as notebooks do: a whole pass with hooks that write the
same changes. Both give the same logits; the largest gap is printed. Medians of the repeats.
"""

import argparse
import statistics
import time

import torch

import probes
from circuits import models
from circuits.editing.cases import natural
from circuits.editing.interventions import default
from circuits.editing.saliency import saliency
from circuits.editing.scores import score
from circuits.games import generate
from circuits.training.lessons import HELD_OUT_SEED
from probes.editing import open_editor

TARGET = 60.0


def main(n: int, repeats: int, loop: int, positions: int) -> None:
    model = models.load()
    editor = open_editor(model, probes.load(model))
    method = default(model)
    cases = natural(n, seed=77)
    print(f"{model.name}, {torch.get_num_threads()} threads, {method}")

    def timed(work) -> tuple[float, object]:
        began = time.perf_counter()
        found = work()
        return time.perf_counter() - began, found

    batched, looped, gap = [], [], 0.0
    for _ in range(repeats):
        seconds, edited = timed(lambda: editor.run(cases, method))
        batched.append(seconds + timed(lambda edited=edited: score(edited.after, cases))[0])
        seconds, slow = timed(lambda: [_by_hand(model, editor, cases[i], method) for i in range(loop)])
        looped.append(seconds * n / loop)
        gap = max(gap, float((torch.stack(slow) - edited.after[:loop]).abs().max()))
    ours, theirs = statistics.median(batched), statistics.median(looped)
    print(f"  {n} cases: {ours:.1f} s (target: at most {TARGET:.0f})")
    print(f"  one by one through hooks: {theirs:.0f} s, {theirs / ours:.0f} times as long; largest gap {gap:.1e}")
    games = generate(positions, HELD_OUT_SEED + 73)
    valid = games.boards().valid
    ply = torch.where(valid[:, 30], 30, 5)
    seconds, maps = timed(lambda: saliency(editor, games.tokens, ply, method))
    print(f"  saliency maps of all {len(maps)} legal moves at {positions} positions: {seconds:.1f} s")


def _by_hand(model, editor, case, method) -> torch.Tensor:
    """Logits of one edited case from a whole pass through TransformerLens; the unedited pass is run too."""
    ply = int(case.ply[0])
    tokens = case.tokens[:, : ply + 1].long()
    edits, _ = editor.edits(case, method)

    def at_the_end(change):
        def edit(x, hook):
            x[:, ply : ply + 1] = change(x[:, ply : ply + 1], hook)
            return x

        return edit

    model(tokens)
    return model.run(tokens, edit=[(hook, at_the_end(change)) for hook, change in edits])[0][0, ply]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--loop", type=int, default=60)
    parser.add_argument("--positions", type=int, default=100)
    given = parser.parse_args()
    main(given.cases, given.repeats, given.loop, given.positions)
