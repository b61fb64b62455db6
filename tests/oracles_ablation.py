"""The slow, obvious way to ablate: one run a position, every activation set by an edit."""

import math

import torch

from circuits import plain
from circuits.causes.nodes import check_node
from circuits.checkpoints import Shape, weight_shapes


def ablated_logits(model, tokens, ply, values, mode):
    """Logits [token] at one position of one game [ply], with ``values`` {node name: value} put in at it, or everywhere.

    A value is a tensor of the node's activation at one ply.
    """
    plies = [ply] if mode == "own" else list(range(ply + 1))
    edits = [put(check_node(name, model.shape), value, plies) for name, value in values.items()]
    return model.run(tokens[None, : ply + 1], edit=edits)[0][0, ply]


def put(node, value, plies):
    """The edit that gives a node a value at some plies."""

    def edit(activation, hook):
        node.slice(activation)[:, plies] = value

    return node.hook, edit


def activations(model, tokens, name):
    """A node's activation [game, ply, ...]."""
    node = check_node(name, model.shape)
    return node.slice(model.run(tokens, save=[node.hook])[1][node.hook])


def means(base, nodes):
    """Each node's mean over the reference positions of the band, by hand."""
    found = {}
    for name in nodes:
        a = activations(base.model, base.reference.inputs, name)
        found[name] = torch.stack([a[g, t] for g, t in base.reference_where.nonzero().tolist()]).mean(0)
    return found


def kl(before, after):
    """Of one position, nats."""
    p, q = before.double().softmax(-1).tolist(), after.double().softmax(-1).tolist()
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def hadamard(d: int) -> torch.Tensor:
    """Rows that are orthogonal and, all but the first, sum to zero: directions that centring leaves alone."""
    rows = torch.ones(1, 1)
    while len(rows) < d:
        rows = torch.cat([torch.cat([rows, rows], 1), torch.cat([rows, -rows], 1)])
    return rows


def planted(share: float, move: int = 20, big: float = 100.0) -> plain.PlainModel:
    """A model of two layers in which L0H0 writes towards one move's logit and L1N0 takes back a known share of it.

    A large constant direction keeps every LayerNorm's scale the same, so the model is linear but for rounding:
    L0H0 writes the mean over plies of a number that each token has; L1N0, always on, reads it and writes -share of it.
    L0H1 and every other neuron write nothing.
    """
    shape = Shape(2, 8, 2, 2, 4, act="relu")
    w = {name: torch.zeros(size) for name, size in weight_shapes(shape).items()}
    for name in w:
        if name.endswith(("ln1.w", "ln2.w", "ln_final.w")):
            w[name] = torch.ones_like(w[name])
    constant, number, towards = hadamard(8)[1:4]
    own = torch.rand(61, generator=torch.Generator().manual_seed(3))
    w["embed.W_E"] = big * constant + own[:, None] * number
    # The scale is big, and every direction has length sqrt(8).
    w["blocks.0.attn.W_V"][0, :, 0] = big * number / 8
    w["blocks.0.attn.W_O"][0, 0] = towards
    w["blocks.1.mlp.W_in"][:, 0] = big * towards / 8
    w["blocks.1.mlp.b_in"][0] = 4.0
    w["blocks.1.mlp.W_out"][0] = -share * towards
    w["unembed.W_U"][:, move] = big * towards / 8
    return plain.build(shape, w, {}, "planted")


def run_at_means(plain, tokens, units, acts, save=()):
    """A whole transcript with some units at their means at the last ply, one edit a unit: logits, what is saved."""
    edits = []
    for unit in units:
        hook = "mlp.hook_post" if unit.kind == "neuron" else "attn.hook_z"
        mean = (acts.neurons if unit.kind == "neuron" else acts.z)[unit.layer, unit.index]

        def put(x, _, unit=unit, mean=mean):
            x[:, -1, unit.index] = mean.to(x)

        edits.append((f"blocks.{unit.layer}.{hook}", put))
    logits, saved = plain.run(tokens[None].long(), edit=edits, save=list(save))
    return logits[0, -1].double(), {name: x[0, -1] for name, x in saved.items()}
