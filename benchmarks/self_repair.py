"""Does the last MLP make up for an ablated neuron? The seed study's claim, over several neurons a layer.

    python benchmarks/self_repair.py [--neurons 12] [--games 200]

In each of the last layers but one, the neurons whose output weight points most strongly at one move are set to their
means over other games, at positions where they exceed half of their maximum *on the reference games*. Printed: the
median over neurons of the share of the lost direct write that the last MLP's own contribution, and everything after
the neuron together, move the other way; and the same of random neurons of the layer, each with its own strongest move.
"""

import argparse

import torch

from circuits import plain
from circuits.causes.baseline import Baseline
from circuits.causes.nodes import neuron
from circuits.causes.self_repair import self_repair
from circuits.games import generate
from circuits.training.lessons import HELD_OUT_SEED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--neurons", type=int, default=12)
    parser.add_argument("--games", type=int, default=200)
    given = parser.parse_args()
    model = plain.load()
    games, reference = (generate(given.games, HELD_OUT_SEED + i) for i in (71, 72))
    base, last = Baseline(model, games, reference), model.shape.n_layers - 1
    W_U = model.W_U[:, 1:] - model.W_U[:, 1:].mean(-1, keepdim=True)
    generator = torch.Generator().manual_seed(0)
    for layer in range(last - 3, last):
        hook = f"blocks.{layer}.mlp.hook_post"
        acts, others = (model.run(g.inputs, save=[hook])[1][hook] for g in (games, reference))
        strength, move = (model.W_out(layer) @ W_U).abs().max(-1)
        ceiling = others.flatten(0, 1).amax(0)
        for name, chosen in (
            ("strongest", (strength * ceiling).topk(given.neurons).indices),
            ("random", torch.randperm(model.shape.d_mlp, generator=generator)[: given.neurons]),
        ):
            shares = {f"L{last} MLP": [], "together": []}
            for i in chosen.tolist():
                mask = (acts[:, :, i] > ceiling[i] / 2) & base.where
                if ceiling[i] < 0.5 or mask.sum() < 20:
                    continue
                found = self_repair(base, [neuron(layer, i)], where={"on": mask})
                for row, values in shares.items():
                    values.append(float(found.at["on"].compensation.value[found.names.index(row), int(move[i])]))
            told = {row: torch.tensor(values).nanmedian().item() for row, values in shares.items() if values}
            count = len(shares["together"])
            listed = ", ".join(f"{row} {value:+.2f}" for row, value in told.items())
            print(f"L{layer}, {count} {name} neurons, median share made up for: {listed}", flush=True)


if __name__ == "__main__":
    main()
