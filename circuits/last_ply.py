"""The last position of some transcripts, run again and again with changes at that ply alone.

Every earlier ply stays as it was, so its keys and values are recorded once (`LastPly.of`) and a run computes one
stream a transcript: at 59 plies about a fiftieth of the whole pass. Variants of one transcript (other edits of the same
position) run side by side and share its past.

Edits are those of `OthelloModel.run`, ``(hook, f(activation, point))``, with activations [row, variant, ...].
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from einops import rearrange
from jaxtyping import Float, Int, Integer
from torch import Tensor

from circuits.errors import InputError
from circuits.othello_model import OthelloModel
from circuits.plain import Past, PlainModel, _Tap, of

Edit = tuple[str, Callable]


@dataclass(frozen=True, eq=False)
class LastPly:
    """What is recorded of some transcripts; memory is 8 x layers x d_model bytes a transcript and ply.

    Attributes:
        model: in plain torch.
        ply: [row], each transcript's last ply.
        pre: by block, the stream entering it at the last ply.
        past: by block, the keys and values of the earlier plies.
    """

    model: PlainModel
    ply: Int[Tensor, "row"]
    pre: list[Float[Tensor, "row d_model"]]
    past: list[Past]
    _unedited: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @staticmethod
    def of(model: OthelloModel, tokens: Integer[Tensor, "row ply"], ply: Int[Tensor, "row"]) -> "LastPly":
        """Run transcripts once.

        Args:
            tokens: [row, ply]; what comes behind a row's last ply is not read.

        Raises:
            InputError: a last ply that the tokens, or the model, do not reach.
        """
        plain = of(model)
        longest = int(ply.max()) + 1
        if int(ply.min()) < 0 or longest > min(tokens.shape[1], plain.shape.n_ctx):
            raise InputError(
                f"last plies {int(ply.min())}..{longest - 1}: the transcripts, or model {plain.name}, have plies "
                f"0..{min(tokens.shape[1], plain.shape.n_ctx) - 1}"
            )
        layers = range(plain.shape.n_layers)
        kinds = ("hook_resid_pre", "attn.hook_k", "attn.hook_v")
        names = [f"blocks.{layer}.{kind}" for layer in layers for kind in kinds]
        _, acts = plain.run(tokens[:, :longest], save=names)
        row, ply = torch.arange(len(ply), device=plain.device), ply.to(plain.device)
        hidden = torch.zeros(len(row), 1, 1, longest - 1, device=plain.device)
        hidden.masked_fill_(torch.arange(longest - 1, device=plain.device) >= ply[:, None, None, None], float("-inf"))

        def earlier(layer: int, kind: str) -> Tensor:
            return rearrange(acts[f"blocks.{layer}.attn.hook_{kind}"][:, :-1], "row ply head d -> row head ply d")

        pre = [acts[f"blocks.{layer}.hook_resid_pre"][row, ply] for layer in layers]
        return LastPly(plain, ply, pre, [Past(earlier(i, "k"), earlier(i, "v"), hidden) for i in layers])

    def __len__(self) -> int:
        return len(self.ply)

    def __getitem__(self, rows: Int[Tensor, "chosen"]) -> "LastPly":
        """Some rows, in any order and as often as wanted."""
        past = [Past(p.k[rows], p.v[rows], p.hidden[rows]) for p in self.past]
        return LastPly(self.model, self.ply[rows], [x[rows] for x in self.pre], past)

    def unedited(self, save: Sequence[str] = ()) -> tuple[Float[Tensor, "row token"], dict[str, Tensor]]:
        """The logits and activations [row, ...] without edits, kept for the next call."""
        if missing := [name for name in ("logits", *save) if name not in self._unedited]:
            logits, saved = self.run(save=[name for name in missing if name != "logits"])
            self._unedited.update({name: x[:, 0] for name, x in saved.items()} | {"logits": logits[:, 0]})
        return self._unedited["logits"], {name: self._unedited[name] for name in save}

    def run(
        self, edit: Sequence[Edit] = (), save: Sequence[str] = (), *, variants: int = 1, start_at: int = 0
    ) -> tuple[Float[Tensor, "row variant token"], dict[str, Tensor]]:
        """The logits at the last ply, and saved activations [row, variant, ...] as they are after the edits.

        Args:
            variants: how many streams each transcript has; they are alike until an edit tells them apart.
            start_at: the first block run: nothing before it may be edited or saved.

        Raises:
            InputError: no such hook, or one that is not reached.
        """
        model = self.model
        names = {*save, *(name for name, _ in edit)}
        model.check_hooks(tuple(names))
        tap = _Tap(names, edit)
        with torch.no_grad():
            x = self.pre[start_at][:, None].expand(-1, variants, -1)
            for layer in range(start_at, model.shape.n_layers):
                x = model._block(layer, x, tap, self.past[layer])
            logits = model._normalised("ln_final", x, tap) @ model.W_U + model.b_U
        if missing := sorted(names - set(tap.saved)):
            raise InputError(f"hook {missing[0]!r} is never reached when running from block {start_at} on")
        return logits, {name: tap.saved[name] for name in save}
