"""What the stream and the heads are on average where a square is empty, theirs or mine: the ground of several edits.

Early and late positions differ in much besides a square's state, so the mean of every ply is taken out first:

    ply_mean[t]       mean of x over positions of ply t
    state[s, c]       mean of x - ply_mean over the positions where square s is in class c

A class's mean at ply t is then ply_mean[t] + state[s, c], and state[s, mine] - state[s, theirs] is the *mean
difference* direction ("mass mean"; Marks and Tegmark 2023, arXiv 2310.06824; Li et al. 2023, arXiv 2306.03341, for
heads). One pass over games, by sums; two halves of the games added give the whole.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor
from torch.nn.functional import one_hot

from circuits.activations import stream
from circuits.errors import InputError
from circuits.features import board_state
from circuits.files import write_whole
from circuits.games import Games, generate
from circuits.notation import N_CTX, N_SQUARES
from circuits.othello_model import OthelloModel
from circuits.plain import of

FORMAT = "othello-circuits stream means 1"
#: of the games on which means are taken where none are given: not those that probes, mining or benchmarks use
SEED, GAMES = 20_000_033, 1000


@dataclass(frozen=True, eq=False)
class StreamMeans:
    """Means of some activations, each flattened to [position, width]: residual points and ``attn.hook_z``.

    Attributes:
        model_hash: of which model.
        games: how many; source: which, in words.
        ply_count: [ply] positions; count: [square, class] positions, classes empty, theirs, mine.
        ply_mean: by hook, [ply, width].
        state: by hook, [square, class, width], the ply's mean taken out; 0 where a class never occurs.
        spread: by hook ``attn.hook_z``, [head, d_head, d_head]: each head's covariance about its ply's mean.
    """

    model_hash: str
    games: int
    source: str
    ply_count: Int[Tensor, "ply"]
    count: Int[Tensor, "64 3"]
    ply_mean: dict[str, Float[Tensor, "ply width"]]
    state: dict[str, Float[Tensor, "64 3 width"]]
    spread: dict[str, Float[Tensor, "head d_head d_head"]]

    def save(self, path: str | os.PathLike) -> None:
        """Write one safetensors file, whole or not at all.

        Raises:
            InputError: it cannot be written.
        """
        tensors = {"ply_count": self.ply_count, "count": self.count}
        for name in ("ply_mean", "state", "spread"):
            tensors |= {f"{name}:{hook}": value.contiguous() for hook, value in getattr(self, name).items()}
        about = {"format": FORMAT, "model_hash": self.model_hash, "games": str(self.games), "source": self.source}
        with write_whole(path) as temporary:
            temporary.write_bytes(to_bytes(tensors, metadata=about))

    @staticmethod
    def load(path: str | os.PathLike, model: OthelloModel) -> "StreamMeans":
        """The inverse of `save`.

        Raises:
            InputError: missing, damaged, or of another model.
        """
        try:
            with safe_open(Path(path), framework="pt") as file:
                about = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError):
            raise InputError(f"{path} is no readable file of stream means") from None
        if about.get("format") != FORMAT or about.get("model_hash") != model.hash:
            raise InputError(f"{path} holds no stream means of model {model.name} ({model.hash})")
        parts: dict[str, dict[str, Tensor]] = {"ply_mean": {}, "state": {}, "spread": {}}
        for name, tensor in tensors.items():
            if ":" in name:
                kind, hook = name.split(":")
                parts[kind][hook] = tensor.to(model.device)
        return StreamMeans(
            model.hash, int(about["games"]), about["source"], tensors["ply_count"], tensors["count"], **parts
        )


def edit_points(model: OthelloModel) -> tuple[str, ...]:
    """The hooks at which edits are made: the stream in the middle of and after every block, and the heads' outputs."""
    kinds = ("attn.hook_z", "hook_resid_mid", "hook_resid_post")
    return tuple(f"blocks.{layer}.{kind}" for layer in range(model.shape.n_layers) for kind in kinds)


def stream_means(
    model: OthelloModel, games: Games | None = None, hooks: Sequence[str] | None = None, *, progress: str | None = None
) -> StreamMeans:
    """Take the means over all valid positions of some games (`GAMES` random ones by default), at all `edit_points`.

    Raises:
        InputError: no such hook.
    """
    games = generate(GAMES, SEED) if games is None else games
    hooks = edit_points(model) if hooks is None else tuple(hooks)
    plain = of(model)
    d_head = plain.shape.d_head
    ply_count = torch.zeros(N_CTX, dtype=torch.int64)
    by_ply = torch.zeros(N_CTX, N_SQUARES, 3, dtype=torch.float64)
    sums: dict[str, Tensor] = {}
    products = {hook: 0.0 for hook in hooks if hook.endswith("hook_z")}
    for batch in stream(plain, games, hooks, progress=progress):
        boards = batch.games.boards()
        where = boards.valid
        ply = one_hot(where.nonzero()[:, 1], N_CTX)
        state = one_hot(board_state(boards)[where].long(), 3)
        ply_count += ply.sum(0)
        by_ply += torch.einsum("pt,psc->tsc", ply.float(), state.float()).double()
        facts = torch.cat([ply, state.flatten(1)], 1).float().to(plain.device)
        for hook in hooks:
            x = batch.acts[hook][where.to(plain.device)].flatten(1)
            sums[hook] = sums.get(hook, 0.0) + (facts.T @ x).double()
            if hook in products:
                z = x.unflatten(1, (-1, d_head))
                products[hook] = products[hook] + torch.einsum("phd,phe->hde", z, z).double()
    ply_mean, states, spread = {}, {}, {}
    count = by_ply.sum(0)
    for hook in hooks:
        mean = sums[hook][:N_CTX] / ply_count.clamp_min(1)[:, None].to(plain.device)
        state = sums[hook][N_CTX:].unflatten(0, (N_SQUARES, 3))
        expected = torch.einsum("tsc,tw->scw", by_ply.to(mean), mean)
        ply_mean[hook] = mean.float()
        states[hook] = ((state - expected) / count.clamp_min(1)[..., None].to(mean)).float()
        if hook in products:
            m = mean.unflatten(1, (-1, d_head))
            between = torch.einsum("t,thd,the->hde", ply_count.to(mean), m, m)
            spread[hook] = ((products[hook] - between) / ply_count.sum()).float()
    return StreamMeans(model.hash, len(games), games.source, ply_count, count.long(), ply_mean, states, spread)
