"""What every loaded model offers, whatever computes it: hooks, edits, units, processed weights.

Two kinds of it exist: `circuits.models` wraps a TransformerLens bridge, `circuits.plain` is the same computation in
plain torch. Analyses and probes take either. Nothing here needs transformer_lens.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from circuits.checkpoints import Shape
from circuits.errors import InputError
from circuits.notation import Unit, parse_unit


@dataclass(frozen=True)
class OthelloModel(ABC):
    """A loaded model. Weight accessors give the processed weights of one layer.

    Attributes:
        shape: sizes.
        card: provenance, as the file's author wrote it.
        hash: 16 hex digits over the raw fp32 weights and the shape; the same for fp16 and fp32 copies of
            one fp16 model.
        name: for people.
    """

    shape: Shape
    card: dict
    hash: str
    name: str

    @abstractmethod
    def weight(self, name: str) -> Float[Tensor, "..."]:
        """A processed weight by its TransformerLens name, such as ``"blocks.3.mlp.W_in"``."""

    @abstractmethod
    def check_hooks(self, names: Sequence[str]) -> None:
        """Raise InputError where a hook does not exist or is switched off."""

    @abstractmethod
    def with_weights(self, weights: dict[str, Tensor], card: dict, name: str) -> "OthelloModel":
        """A model of the same kind and shape, on the same device, from other raw weights."""

    @abstractmethod
    def _run(
        self,
        inputs: Tensor,
        wanted: set[str],
        edit: Sequence[tuple[str, Callable]],
        start_at: int | None,
        stop_at: int | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The pass behind `run`: its output, and whichever of ``wanted`` it reached, as they are after the edits."""

    def __call__(self, tokens: Integer[Tensor, "game ply"]) -> Float[Tensor, "game ply token"]:
        """Logits; position t predicts move t + 1."""
        return self.run(tokens)[0]

    def run(
        self,
        inputs: Tensor,
        save: Sequence[str] = (),
        edit: Sequence[tuple[str, Callable]] = (),
        start_at: int | None = None,
        stop_at: int | None = None,
        gradients: bool = False,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One forward pass that saves the activations at some hooks and may change others.

        Args:
            inputs: tokens [game, ply], or with ``start_at`` the residual stream entering that block.
            save: hook names, e.g. ``"blocks.3.mlp.hook_post"``.
            edit: hooks as TransformerLens takes them, ``(name, f(activation, hook))``, run in their order before
                anything is saved. Each gets a copy, which it may change in place or replace. An edit of
                ``hook_resid_mid`` changes the stream itself, not only what the MLP reads.
            start_at, stop_at: the first block run, and the block before which to stop (the number of layers: none).
            gradients: keep the graph, for gradients with respect to what an edit (or ``inputs``) requires them of.

        Returns:
            logits (or with ``stop_at`` the residual stream entering that block), and the saved activations.

        Raises:
            InputError: no such hook or layer, or more plies than the model's context.
        """
        n = self.shape.n_layers
        if start_at is not None and not 0 <= start_at < n:
            raise InputError(f"start_at {start_at}: model {self.name} has layers 0..{n - 1}")
        if stop_at is not None and not (start_at or 0) <= stop_at <= n:
            raise InputError(f"stop_at {stop_at}: it must lie in {start_at or 0}..{n} ({n} runs to the end)")
        if inputs.shape[1] > self.shape.n_ctx:
            raise InputError(f"{inputs.shape[1]} plies: model {self.name} reads at most {self.shape.n_ctx}")
        names = (*save, *(name for name, _ in edit))
        self.check_hooks(names)
        inputs = inputs.to(self.device)
        if start_at is None:
            inputs = inputs.long()
        with torch.set_grad_enabled(gradients):
            out, saved = self._run(inputs, set(names), edit, start_at, stop_at)
        for name in names:
            if name not in saved:
                blocks = f"{start_at or 0} to {(n if stop_at is None else stop_at) - 1}"
                raise InputError(f"hook {name!r} is never reached when running blocks {blocks} of model {self.name}")
        return out, {name: saved[name] for name in save}

    @property
    def device(self) -> torch.device:
        return self.W_U.device

    def unit(self, name: str | Unit) -> Unit:
        """Parse a unit's name and check that this model has it.

        Raises:
            InputError: not a unit's name, or out of range for this model.
        """
        unit = parse_unit(name) if isinstance(name, str) else name
        s = self.shape
        count = s.d_mlp if unit.kind == "neuron" else s.n_heads
        if unit.layer >= s.n_layers or unit.index >= count:
            letter = "N" if unit.kind == "neuron" else "H"
            raise InputError(
                f"{unit} is out of range: model {self.name} has {unit.kind}s "
                f"L0{letter}0 to L{s.n_layers - 1}{letter}{count - 1}"
            )
        return unit

    def W_in(self, layer: int) -> Float[Tensor, "d_model neuron"]:
        return self.weight(f"blocks.{layer}.mlp.W_in")

    def b_in(self, layer: int) -> Float[Tensor, "neuron"]:
        return self.weight(f"blocks.{layer}.mlp.b_in")

    def W_out(self, layer: int) -> Float[Tensor, "neuron d_model"]:
        return self.weight(f"blocks.{layer}.mlp.W_out")

    def b_out(self, layer: int) -> Float[Tensor, "d_model"]:
        return self.weight(f"blocks.{layer}.mlp.b_out")

    def W_Q(self, layer: int) -> Float[Tensor, "head d_model d_head"]:
        return self.weight(f"blocks.{layer}.attn.W_Q")

    def W_K(self, layer: int) -> Float[Tensor, "head d_model d_head"]:
        return self.weight(f"blocks.{layer}.attn.W_K")

    def W_V(self, layer: int) -> Float[Tensor, "head d_model d_head"]:
        return self.weight(f"blocks.{layer}.attn.W_V")

    def b_Q(self, layer: int) -> Float[Tensor, "head d_head"]:
        return self.weight(f"blocks.{layer}.attn.b_Q")

    def b_K(self, layer: int) -> Float[Tensor, "head d_head"]:
        return self.weight(f"blocks.{layer}.attn.b_K")

    def W_O(self, layer: int) -> Float[Tensor, "head d_head d_model"]:
        return self.weight(f"blocks.{layer}.attn.W_O")

    def b_O(self, layer: int) -> Float[Tensor, "d_model"]:
        return self.weight(f"blocks.{layer}.attn.b_O")

    @property
    def W_E(self) -> Float[Tensor, "token d_model"]:
        return self.weight("embed.W_E")

    @property
    def W_pos(self) -> Float[Tensor, "ply d_model"]:
        return self.weight("pos_embed.W_pos")

    @property
    def W_U(self) -> Float[Tensor, "d_model token"]:
        return self.weight("unembed.W_U")

    @property
    def b_U(self) -> Float[Tensor, "token"]:
        return self.weight("unembed.b_U")

    @cached_property
    def is_bundled(self) -> bool:
        """Whether these are the bundled model's weights (by hash, not by name)."""
        from circuits.models import bundled_hash

        return self.hash == bundled_hash()
