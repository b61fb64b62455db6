"""What a model's units do on average at one ply, over reference games: what "its mean" means in an explanation.

The mean over games at the same ply, as `circuits.causes.replacements` takes it by ply, so that what a unit does at this
ply whatever the board counts as nothing. Games that are over by then are left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from circuits.board_readers import BoardReader
from circuits.errors import InputError
from circuits.features import board_state
from circuits.games import Games
from circuits.othello_model import OthelloModel
from circuits.plain import of

#: games run at once
BATCH = 50


@dataclass(frozen=True, eq=False)
class Acts:
    """What the components do at one position, or on average.

    Attributes:
        embed, place: what the token's and the position's embedding write.
        z: each head's output before W_O.
        neurons: activations after the non-linearity.
    """

    embed: Float[Tensor, "d_model"]
    place: Float[Tensor, "d_model"]
    z: Float[Tensor, "layer head d_head"]
    neurons: Float[Tensor, "layer neuron"]


@dataclass(frozen=True, eq=False)
class Means:
    """Means at one ply.

    Attributes:
        acts: of every component.
        logits: of the moves, relative to their mean; probabilities: of the same.
        right: squares of 64 that each point's probe reads right.
        positions: how many.
    """

    acts: Acts
    logits: Float[Tensor, "move=60"]
    probabilities: Float[Tensor, "move=60"]
    right: dict[str, float]
    positions: int


def hooks(n_layers: int) -> list[str]:
    """The hooks that `acts_at` reads."""
    blocks = [f"blocks.{layer}." for layer in range(n_layers)]
    return [
        "hook_embed",
        "hook_pos_embed",
        *(b + "attn.hook_z" for b in blocks),
        *(b + "mlp.hook_post" for b in blocks),
    ]


def acts_at(saved: Mapping[str, Tensor], ply: int, n_layers: int) -> Acts:
    """Sums over games [game, ply, ...] of what was saved, at one ply."""

    def at(name: str) -> Tensor:
        return saved[name][:, ply].double().sum(0)

    return Acts(
        at("hook_embed"),
        at("hook_pos_embed"),
        torch.stack([at(f"blocks.{layer}.attn.hook_z") for layer in range(n_layers)]),
        torch.stack([at(f"blocks.{layer}.mlp.hook_post") for layer in range(n_layers)]),
    )


def means(model: OthelloModel, games: Games, ply: int, readers: Mapping[str, BoardReader]) -> Means:
    """Take the means over the games that reach a ply.

    Raises:
        InputError: none does.
    """
    plain, n = of(model), model.shape.n_layers
    boards = games.boards()
    rows = boards.valid[:, ply].nonzero().squeeze(1)
    if not len(rows):
        raise InputError(
            f"none of the {len(games)} reference games ({games.source}) has a legal move at ply {ply}: give more games"
        )
    truth = board_state(boards[rows, ply]).long()
    totals: dict[str, Tensor] = {}

    def add(name: str, value: Tensor) -> None:
        totals[name] = totals[name] + value if name in totals else value

    for part in torch.arange(len(rows)).split(BATCH):
        logits, saved = plain.run(games.inputs[rows[part], : ply + 1], save=[*hooks(n), *readers])
        own = logits[:, ply, 1:].double()
        add("logits", (own - own.mean(-1, keepdim=True)).sum(0))
        add("probabilities", logits[:, ply].double().softmax(-1)[:, 1:].sum(0))
        for name, value in vars(acts_at(saved, ply, n)).items():
            add(name, value)
        for hook, reader in readers.items():
            read = reader.read(saved[hook][:, ply]).cpu()
            add(f"right {hook}", (read == truth[part]).double().sum())
    average = {name: value / len(rows) for name, value in totals.items()}
    acts = Acts(*(average[name].float() for name in ("embed", "place", "z", "neurons")))
    right = {hook: float(average[f"right {hook}"]) for hook in readers}
    return Means(acts, average["logits"].float(), average["probabilities"].float(), right, len(rows))
