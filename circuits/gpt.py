"""A GPT-2-shaped transformer to train: pre-LayerNorm blocks, learned positions, untied unembedding.

    x_0      = W_E[token] + W_pos[ply]
    x_mid    = x + W_O z,   z = softmax(q k^T / sqrt(d_head), causal) v,   q, k, v = W ln1(x) + b
    x_next   = x_mid + W_out act(W_in ln2(x_mid) + b_in) + b_out
    logits   = W_U ln_final(x_L) + b_U

Sources: Radford et al. 2019 (GPT-2); Li et al. 2023 (arXiv 2210.13382) for Othello's sizes and dropout.
`GPT` holds raw weights and is what `circuits.training.loop` trains; analyses read a *processed* model
(`circuits.models`, `circuits.plain`). Weights go in and out under TransformerLens names (`circuits.checkpoints`).
Nothing here needs transformer_lens.
"""

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from circuits.checkpoints import Shape, weight_shapes

#: GPT-2's standard deviation of random weights
INITIAL_SD = 0.02


def gelu_new(x: Tensor) -> Tensor:
    """Tanh-GELU, x/2 (1 + tanh u). Compiled, it is written x sigmoid(2u), the same function and faster on a CPU."""
    if torch.compiler.is_compiling():
        return x * torch.sigmoid(x * (2 * math.sqrt(2 / math.pi)) * (1 + 0.044715 * x * x))
    return F.gelu(x, approximate="tanh")


def solu(x: Tensor) -> Tensor:
    """x softmax(x) over the neurons (Elhage et al. 2022), without the LayerNorm that its authors put after it."""
    return x * x.softmax(-1)


def activation(name: str):
    """The function of a name in `checkpoints.ACTIVATIONS`."""
    return {"gelu": F.gelu, "gelu_new": gelu_new, "relu": F.relu, "silu": F.silu, "solu": solu}[name]


class Dropout(nn.Module):
    """Dropout that on a CPU draws one random byte for each value: six times as fast as torch's there, with a
    probability rounded to a multiple of 1/256 (0.1 becomes 0.1016) and the scale that belongs to it."""

    def __init__(self, probability: float):
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.probability):
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.probability)
        dropped = round(256 * self.probability)
        draws = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        kept = draws.view(torch.uint8)[: x.numel()].view(x.shape) >= dropped
        return x * kept.to(x.dtype).mul_(256 / (256 - dropped))


class Attention(nn.Module):
    """Causal self-attention. Queries, keys and values have matrices of their own, multiplied as one."""

    def __init__(self, shape: Shape, dropout: float):
        super().__init__()
        d, inner = shape.d_model, shape.n_heads * shape.d_head
        self.n_heads, self.d_head, self.dropout = shape.n_heads, shape.d_head, Dropout(dropout)
        self.W_Q, self.W_K, self.W_V = (nn.Parameter(torch.empty(inner, d)) for _ in range(3))
        self.b_Q, self.b_K, self.b_V = (nn.Parameter(torch.empty(inner)) for _ in range(3))
        self.W_O, self.b_O = nn.Parameter(torch.empty(d, inner)), nn.Parameter(torch.empty(d))
        # Added to the scores: -inf where a position would look ahead.
        ahead = torch.full((shape.n_ctx, shape.n_ctx), float("-inf")).triu(1)
        self.register_buffer("ahead", ahead, persistent=False)

    def forward(self, x: Float[Tensor, "game ply d_model"]) -> Float[Tensor, "game ply d_model"]:
        games, plies, _ = x.shape
        weight, bias = torch.cat((self.W_Q, self.W_K, self.W_V)), torch.cat((self.b_Q, self.b_K, self.b_V))
        qkv = F.linear(x, weight, bias).view(games, plies, 3, self.n_heads, self.d_head)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind()
        if x.device.type == "cpu":
            # torch's fused attention is twice as slow as this at 59 plies, and a bf16 softmax as a fp32 one.
            scores = (q * self.d_head**-0.5) @ k.transpose(-1, -2)
            pattern = (scores.float() + self.ahead[:plies, :plies]).softmax(-1).to(v.dtype)
            z = self.dropout(pattern) @ v
        else:
            dropout = self.dropout.probability if self.training else 0.0
            z = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
        z = z.transpose(1, 2).reshape(games, plies, -1)
        return F.linear(z, self.W_O, self.b_O)


class MLP(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        d, m = shape.d_model, shape.d_mlp
        self.W_in, self.b_in = nn.Parameter(torch.empty(m, d)), nn.Parameter(torch.empty(m))
        self.W_out, self.b_out = nn.Parameter(torch.empty(d, m)), nn.Parameter(torch.empty(d))
        self.act = activation(shape.act)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.act(F.linear(x, self.W_in, self.b_in)), self.W_out, self.b_out)


class Block(nn.Module):
    def __init__(self, shape: Shape, dropout: float):
        super().__init__()
        self.ln1, self.ln2 = (nn.LayerNorm(shape.d_model, eps=shape.eps) for _ in range(2))
        self.attn, self.mlp, self.dropout = Attention(shape, dropout), MLP(shape), Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attn(self.ln1(x)))
        return x + self.dropout(self.mlp(self.ln2(x)))


class GPT(nn.Module):
    """The trainable model. ``dropout`` acts, as in the paper, on the embedding, on attention patterns and on what
    each attention and MLP writes; never in eval mode."""

    def __init__(self, shape: Shape, dropout: float = 0.0):
        super().__init__()
        self.shape = shape
        self.embed = nn.Parameter(torch.empty(shape.d_vocab, shape.d_model))
        self.pos_embed = nn.Parameter(torch.empty(shape.n_ctx, shape.d_model))
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(Block(shape, dropout) for _ in range(shape.n_layers))
        self.ln_final = nn.LayerNorm(shape.d_model, eps=shape.eps)
        self.W_U = nn.Parameter(torch.empty(shape.d_vocab, shape.d_model))
        self.b_U = nn.Parameter(torch.empty(shape.d_vocab))

    def forward(self, tokens: Int[Tensor, "game ply"]) -> Float[Tensor, "game ply token"]:
        """Logits; position t predicts move t + 1."""
        x = self.dropout(F.embedding(tokens, self.embed) + self.pos_embed[: tokens.shape[1]])
        for block in self.blocks:
            x = block(x)
        return F.linear(self.ln_final(x), self.W_U, self.b_U)

    def set_dropout(self, probability: float) -> None:
        for module in self.modules():
            if isinstance(module, Dropout):
                module.probability = probability

    @staticmethod
    def from_weights(shape: Shape, weights: dict[str, Tensor], dropout: float = 0.0) -> "GPT":
        """A model with raw weights under TransformerLens names, all present (`checkpoints.complete`)."""
        gpt = GPT(shape, dropout)
        with torch.no_grad():
            for name, parameter in gpt.named_weights().items():
                parameter.copy_(_to_parameter(name, weights[name]))
        return gpt

    def to_weights(self) -> dict[str, Float[Tensor, "..."]]:
        """Raw fp32 weights on the CPU under TransformerLens names, in their order."""
        sizes = weight_shapes(self.shape)
        named = self.named_weights()
        return {name: _to_weight(name, named[name], size) for name, size in sizes.items()}

    def named_weights(self) -> dict[str, nn.Parameter]:
        """Every parameter by the TransformerLens name of what it holds (matrices transposed, heads joined)."""
        return {_lens_name(name): parameter for name, parameter in self.named_parameters()}


def _lens_name(name: str) -> str:
    if name in ("embed", "pos_embed"):
        return {"embed": "embed.W_E", "pos_embed": "pos_embed.W_pos"}[name]
    if name in ("W_U", "b_U"):
        return f"unembed.{name}"
    head, _, last = name.rpartition(".")
    if head.endswith(("ln1", "ln2", "ln_final")):
        return f"{head}.{last[0]}"  # weight, bias -> w, b
    return name


def _to_parameter(name: str, weight: Tensor) -> Tensor:
    """A weight in TransformerLens's layout as our parameter: [out, in], heads joined."""
    kind = name.rsplit(".", 1)[1]
    if kind in ("W_Q", "W_K", "W_V"):  # [head, d_model, d_head]
        return weight.permute(0, 2, 1).flatten(0, 1)
    if kind in ("b_Q", "b_K", "b_V"):
        return weight.flatten()
    if kind == "W_O":  # [head, d_head, d_model]
        return weight.flatten(0, 1).T
    return weight.T if kind in ("W_in", "W_out", "W_U") else weight


def _to_weight(name: str, parameter: Tensor, size: tuple[int, ...]) -> Tensor:
    """The inverse of `_to_parameter`; a copy."""
    kind = name.rsplit(".", 1)[1]
    x = parameter.detach().float()
    if kind in ("W_Q", "W_K", "W_V"):
        x = x.unflatten(0, (size[0], size[2])).permute(0, 2, 1)
    elif kind in ("b_Q", "b_K", "b_V"):
        x = x.unflatten(0, size)
    elif kind == "W_O":
        x = x.T.unflatten(0, size[:2])
    elif kind in ("W_in", "W_out", "W_U"):
        x = x.T
    return x.clone(memory_format=torch.contiguous_format).cpu()


def initial_weights(shape: Shape, seed: int = 0) -> dict[str, Tensor]:
    """GPT-2's initialisation under TransformerLens names: normal with sd 0.02, biases 0, LayerNorms the identity."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, size in weight_shapes(shape).items():
        kind = name.rsplit(".", 1)[1]
        if kind == "w":
            weights[name] = torch.ones(size)
        elif kind.startswith("b"):
            weights[name] = torch.zeros(size)
        else:
            weights[name] = INITIAL_SD * torch.randn(size, generator=generator)
    return weights


def add_layers(shape: Shape, weights: dict[str, Tensor], more: int, seed: int = 0) -> tuple[Shape, dict[str, Tensor]]:
    """The same model with ``more`` layers on top that at first change nothing: random but for W_O and W_out, zero."""
    deeper = replace(shape, n_layers=shape.n_layers + more)
    fresh = initial_weights(deeper, seed)
    for layer in range(shape.n_layers, deeper.n_layers):
        for name in ("attn.W_O", "mlp.W_out"):
            fresh[f"blocks.{layer}.{name}"].zero_()
    return deeper, fresh | weights
