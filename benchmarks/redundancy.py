"""Do several neurons do the work of one? Models side by side: neurons on one fact, twins, and what losing some costs.

    python benchmarks/redundancy.py runs/base/model.safetensors runs/dropout/model.safetensors [--games 300]

one fact    neurons that one fact about the board describes with a held-out skill above 0.5 (`circuits.best_facts`),
            the distinct facts among them, and neurons per fact, counted within a layer
twins       neurons whose activation correlates with another's of the same layer at |r| > 0.8 over the positions
losing      KL to uniform-legal when a share of all neurons, drawn at random, is held at its mean over the games: the
            mean of several draws, and their range. What little such a loss costs, others make up for

On random games that no model trained here has seen; random weights of the same shape beside them.
"""

import argparse

import torch

from circuits import plain
from circuits.behaviour import play_quality
from circuits.best_facts import best_facts
from circuits.games import Games, generate
from circuits.mining import Mining, mine
from circuits.othello_model import OthelloModel
from circuits.patterns import Gallery
from circuits.training.lessons import HELD_OUT_SEED

SKILL, TWIN_R = 0.5, 0.8
SHARES, DRAWS = (0.1, 0.3), 5


class WithoutNeurons:
    """A model with some neurons of every layer held at given values, as far as `play_quality` uses one."""

    def __init__(self, model: OthelloModel, lost: torch.Tensor, mean: torch.Tensor):
        self.model, self.device, self.shape = model, model.device, model.shape
        self.edit = [
            (f"blocks.{layer}.mlp.hook_post", self._hold(lost[layer], mean[layer])) for layer in range(len(lost))
        ]

    @staticmethod
    def _hold(lost, mean):
        return lambda acts, hook: torch.where(lost, mean.to(acts.dtype), acts)

    def check_hooks(self, names):
        self.model.check_hooks(names)

    def run(self, inputs, save=(), edit=(), **limits):
        return self.model.run(inputs, save, [*self.edit, *edit], **limits)


def facts_and_twins(mining: Mining, games: Games) -> tuple[int, int, int]:
    """Neurons that one fact describes, (layer, fact) pairs among them, twins."""
    gallery, crisp, pairs, twins = Gallery(mining, games), 0, 0, 0
    for layer in range(len(mining.mean())):
        best = best_facts(gallery, layer)
        told = best.fact[best.skill > SKILL]
        crisp, pairs = crisp + len(told), pairs + len(told.unique())
        acts = mining.sample[layer][:, gallery.where].float()
        acts = acts - acts.mean(1, keepdim=True)
        acts /= acts.norm(dim=1, keepdim=True).clamp_min(1e-9)
        r = (acts @ acts.T).fill_diagonal_(0)
        twins += int((r.abs().amax(1) > TWIN_R).sum())
    return crisp, pairs, twins


def losing(model: OthelloModel, mean: torch.Tensor, games: Games, share: float) -> list[float]:
    kl = []
    for draw in range(DRAWS):
        lost = torch.rand(mean.shape, generator=torch.Generator().manual_seed(draw)) < share
        kl.append(play_quality(WithoutNeurons(model, lost, mean.float()), games).kl_to_uniform_legal)
    return kl


def row(model: OthelloModel, games: Games) -> str:
    mining = mine(model, games, sample_games=len(games))
    crisp, pairs, twins = facts_and_twins(mining, games)
    cells = [model.name, mining.mean().numel(), crisp, pairs, f"{crisp / pairs:.1f}" if pairs else "-", twins]
    cells.append(f"{play_quality(model, games).kl_to_uniform_legal:.3f}")
    for share in SHARES:
        kl = losing(model, mining.mean(), games, share)
        cells.append(f"{sum(kl) / len(kl):.3f} ({min(kl):.3f}-{max(kl):.3f})")
    return "| " + " | ".join(map(str, cells)) + " |"


def main(files: list[str], n: int) -> None:
    games = generate(n, HELD_OUT_SEED)
    print("| model | neurons | one fact | distinct facts | neurons a fact | twins | KL "
          + "".join(f"| KL without {100 * share:.0f} % " for share in SHARES) + "|")  # fmt: skip
    print("|---|" + "---:|" * (6 + len(SHARES)))
    shapes = set()
    for file in files:
        model = plain.load(file)
        print(row(model, games), flush=True)
        if model.shape not in shapes:  # the baseline is the same for all models of a shape
            shapes.add(model.shape)
            print(row(plain.load(file, random_seed=0), games), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--games", type=int, default=300)
    given = parser.parse_args()
    main(given.models, given.games)
