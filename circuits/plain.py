"""A processed Othello-GPT in plain torch: the same hooks, edits and weights as the bridge, without transformer_lens.

    n        = (x - mean x) / s,   s = sqrt(var x + eps)                    ln1, ln2, ln_final: weights folded away
    x_mid    = x + sum over heads (z_h W_O,h) + b_O,   z_h = softmax(q_h k_h^T / sqrt(d_head), causal) v_h
    x_post   = x_mid + act(n W_in + b_in) W_out + b_out
    logits   = n W_U + b_U

For machines without transformer_lens, for GPUs, and wherever many games are run: it is faster than the bridge, and
under autocast it computes in bf16. `HOOKS` and `BLOCK_HOOKS` are the points that can be saved and edited.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from circuits import checkpoints
from circuits.checkpoints import Checkpoint, Shape
from circuits.devices import check_device
from circuits.errors import InputError
from circuits.gpt import activation
from circuits.models import random_checkpoint, read_checkpoint, warn_if_at_chance, weights_hash
from circuits.othello_model import OthelloModel
from circuits.processing import processed

HOOKS = ("hook_embed", "hook_pos_embed", "ln_final.hook_scale", "ln_final.hook_normalized")
#: behind ``blocks.L.``, in the order in which they are reached
BLOCK_HOOKS = (
    "hook_resid_pre",
    "ln1.hook_scale",
    "ln1.hook_normalized",
    "attn.hook_q",
    "attn.hook_k",
    "attn.hook_v",
    "attn.hook_pattern",
    "attn.hook_z",
    "hook_attn_out",
    "hook_resid_mid",
    "ln2.hook_scale",
    "ln2.hook_normalized",
    "mlp.hook_pre",
    "mlp.hook_post",
    "hook_mlp_out",
    "hook_resid_post",
)


@dataclass(frozen=True)
class Point:
    """What an edit is told beside the activation: the hook's name."""

    name: str


@dataclass(frozen=True, eq=False)
class Past:
    """What a block's attention reads of earlier plies, for streams each of which is a last ply of its own.

    A block given this takes [game, variant, d_model]: every variant sees the past and itself, and no other variant.
    Its pattern is [game, head, variant, past ply + 1], the variant itself last.

    Attributes:
        k, v: keys and values of the earlier plies.
        hidden: added to scores: -inf where a game has no such earlier ply, else 0.
    """

    k: Float[Tensor, "game head ply d_head"]
    v: Float[Tensor, "game head ply d_head"]
    hidden: Float[Tensor, "game 1 1 ply"]


@dataclass(frozen=True, eq=False)
class PlainModel(OthelloModel):
    """An `OthelloModel` in plain torch.

    Attributes:
        weights: processed fp32 weights under TransformerLens names, on the model's device.
    """

    weights: dict[str, Tensor]

    def weight(self, name: str) -> Float[Tensor, "..."]:
        return self.weights[name]

    def with_weights(self, weights: dict[str, Tensor], card: dict, name: str) -> "PlainModel":
        return build(self.shape, weights, card, name, device=str(self.device))

    def check_hooks(self, names: Sequence[str]) -> None:
        """Raise InputError where a plain model has no such hook."""
        for name in names:
            if name not in self._hooks:
                raise InputError(f"model {self.name} has no hook {name!r}; an example is 'blocks.0.mlp.hook_post'")

    @cached_property
    def _hooks(self) -> frozenset[str]:
        blocks = (f"blocks.{layer}.{hook}" for layer in range(self.shape.n_layers) for hook in BLOCK_HOOKS)
        return frozenset((*HOOKS, *blocks))

    @cached_property
    def _qkv(self) -> list[tuple[Tensor, Tensor]]:
        """Each layer's queries, keys and values as one matrix [d_model, 3 head d_head] and its bias."""

        def joined(layer: int) -> tuple[Tensor, Tensor]:
            W, b = ([self.weights[f"blocks.{layer}.attn.{x}_{kind}"] for kind in "QKV"] for x in "Wb")
            return torch.stack(W).permute(2, 0, 1, 3).flatten(1), torch.stack(b).flatten()

        return [joined(layer) for layer in range(self.shape.n_layers)]

    @cached_property
    def _ahead(self) -> Float[Tensor, "ply ply"]:
        """Added to attention scores: -inf where a position would look ahead."""
        return torch.full((self.shape.n_ctx,) * 2, float("-inf"), device=self.device).triu(1)

    def _run(
        self,
        inputs: Tensor,
        wanted: set[str],
        edit: Sequence[tuple[str, Callable]],
        start_at: int | None,
        stop_at: int | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        tap = _Tap(wanted, edit)
        if start_at is None:
            # A copy for every game, as of every activation: not a view of the weights.
            position = self.W_pos[: inputs.shape[1]].repeat(len(inputs), 1, 1)
            x = tap("hook_embed", F.embedding(inputs, self.W_E)) + tap("hook_pos_embed", position)
        else:
            x = inputs
        for layer in range(start_at or 0, self.shape.n_layers if stop_at is None else stop_at):
            x = self._block(layer, x, tap)
        if stop_at is not None:
            return x, tap.saved
        return self._normalised("ln_final", x, tap) @ self.W_U + self.b_U, tap.saved

    def _block(self, layer: int, x: Tensor, tap: "_Tap", past: "Past | None" = None) -> Tensor:
        block = f"blocks.{layer}"
        x = tap(f"{block}.hook_resid_pre", x)
        z = self._attention(layer, self._normalised(f"{block}.ln1", x, tap), tap, past)
        # Heads side by side: one product sums what they write.
        written = F.linear(z.flatten(-2), self.W_O(layer).flatten(0, 1).T, self.b_O(layer))
        x = tap(f"{block}.hook_resid_mid", x + tap(f"{block}.hook_attn_out", written))
        n = self._normalised(f"{block}.ln2", x, tap)
        pre = tap(f"{block}.mlp.hook_pre", F.linear(n, self.W_in(layer).T, self.b_in(layer)))
        post = tap(f"{block}.mlp.hook_post", activation(self.shape.act)(pre))
        written = F.linear(post, self.W_out(layer).T, self.b_out(layer))
        return tap(f"{block}.hook_resid_post", x + tap(f"{block}.hook_mlp_out", written))

    def _attention(
        self, layer: int, n: Tensor, tap: "_Tap", past: "Past | None"
    ) -> Float[Tensor, "game ply head d_head"]:
        attn, (W, b) = f"blocks.{layer}.attn", self._qkv[layer]
        heads = F.linear(n, W.T, b).unflatten(-1, (3, self.shape.n_heads, self.shape.d_head)).unbind(2)
        q, k, v = (tap(f"{attn}.hook_{kind}", x).transpose(1, 2) for kind, x in zip("qkv", heads, strict=True))
        pattern = f"{attn}.hook_pattern"
        if past is not None:
            scores = (q * self.shape.d_head**-0.5) @ past.k.mT + past.hidden
            own = (q * self.shape.d_head**-0.5 * k).sum(-1, keepdim=True)
            weights = tap(pattern, torch.cat([scores, own], -1).softmax(-1))
            z = weights[..., :-1] @ past.v + weights[..., -1:] * v
        elif n.device.type != "cpu" and not tap.touches(pattern):
            z = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:  # on a CPU torch's fused attention is the slower one at 59 plies
            scores = (q * self.shape.d_head**-0.5) @ k.mT
            plies = n.shape[1]
            z = tap(pattern, (scores.float() + self._ahead[:plies, :plies]).softmax(-1)).to(v.dtype) @ v
        return tap(f"{attn}.hook_z", z.transpose(1, 2))

    def _normalised(self, norm: str, x: Tensor, tap: "_Tap") -> Tensor:
        scale = f"{norm}.hook_scale"
        if tap.touches(scale):
            x = x - x.mean(-1, keepdim=True)
            n = x / tap(scale, (x.pow(2).mean(-1, keepdim=True) + self.shape.eps).sqrt())
        else:
            n = F.layer_norm(x, x.shape[-1:], eps=self.shape.eps)
        return tap(f"{norm}.hook_normalized", n)


class _Tap:
    """Edits an activation and keeps it, where that was asked for."""

    def __init__(self, wanted: set[str], edit: Sequence[tuple[str, Callable]]):
        self.wanted, self.saved = wanted, {}
        self.edits: dict[str, list[Callable]] = {}
        for name, change in edit:
            self.edits.setdefault(name, []).append(change)

    def touches(self, name: str) -> bool:
        return name in self.wanted

    def __call__(self, name: str, x: Tensor) -> Tensor:
        if name not in self.wanted:
            return x
        for change in self.edits.get(name, ()):
            copy = x.clone()  # an edit in place must not reach what was saved or is read elsewhere
            after = change(copy, Point(name))
            x = copy if after is None else after
        self.saved[name] = x
        return x


def build(
    shape: Shape, weights: dict[str, Tensor], card: dict, name: str, device: str = "cpu", check: bool = True
) -> PlainModel:
    """A processed model from raw weights under TransformerLens names (see `checkpoints.weight_shapes`).

    Raises:
        InputError: as `checkpoints.complete`; a device that is not here; contributions that do not sum (``check``).
    """
    check_device(device)
    weights = checkpoints.complete(shape, weights, name)
    ready = {key: weight.to(device) for key, weight in processed(shape, weights).items()}
    model = PlainModel(shape, card, weights_hash(shape, weights), name, ready)
    if check:
        from circuits.attribution import check_sum

        check_sum(model)
    return model


def of(model: OthelloModel) -> PlainModel:
    """The same model computed in plain torch; a plain one is returned as it is. No weights are copied."""
    if isinstance(model, PlainModel):
        return model
    names = ("embed.W_E", "pos_embed.W_pos", "unembed.W_U", "unembed.b_U")
    parts = [f"attn.{x}_{kind}" for kind in "QKVO" for x in "Wb"] + [
        f"mlp.{x}_{y}" for x in "Wb" for y in ("in", "out")
    ]
    names += tuple(f"blocks.{layer}.{part}" for layer in range(model.shape.n_layers) for part in parts)
    weights = {name: model.weight(name).detach() for name in names}
    return PlainModel(model.shape, model.card, model.hash, model.name, weights)


def load(
    source: str | os.PathLike | Checkpoint | None = None,
    *,
    heads: int | None = None,
    act: str | None = None,
    device: str = "cpu",
    random_seed: int | None = None,
) -> PlainModel:
    """Load a model as `circuits.models.load` does, or take a checkpoint that was read already.

    Args:
        source: nothing (the bundled model), a path, a Hugging Face id, or a `Checkpoint`.
        heads, act: what minGPT files do not store.
        device: a torch device.
        random_seed: random weights of this seed in place of the model's.

    Raises:
        InputError: nothing readable there, a device that is not here, contributions that do not sum.

    Warns:
        UserWarning: a file's model that plays no better than chance.
    """
    given = isinstance(source, Checkpoint)
    checkpoint = source if given else read_checkpoint(source, heads, act)
    if random_seed is not None:
        checkpoint = random_checkpoint(checkpoint, random_seed)
    model = build(checkpoint.shape, checkpoint.weights, checkpoint.card, checkpoint.name, device=device)
    if not given and source is not None and random_seed is None and not model.is_bundled:
        warn_if_at_chance(model)
    return model
