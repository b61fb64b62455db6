"""Activation patching the slow and obvious way: one pair, one place, one ply at a time, the whole model each time."""

import torch

from circuits.causes.nodes import Node


def patched_value(model, clean, corrupt, metric, pair: int, node: Node, plies, read: int) -> float:
    """The metric of one pair's corrupt run with the clean activation of ``node`` at ``plies`` (a list)."""
    point = [] if metric.point == "logits" else [metric.point]
    _, saved = model.run(clean[None], save=[node.hook])
    source = saved[node.hook]

    def edit(activation, hook):
        for ply in plies:
            if node.kind == "pattern":
                activation[:, node.index, ply] = source[:, node.index, ply]
            elif node.index is None:
                activation[:, ply] = source[:, ply]
            else:
                activation[:, ply, node.index] = source[:, ply, node.index]
        return activation

    out, acts = model.run(corrupt[None], save=point, edit=[(node.hook, edit)])
    seen = (acts[metric.point] if point else out)[:, read]
    return float(metric(seen, torch.tensor([pair])))


def value(model, tokens, metric, pair: int, read: int) -> float:
    """The metric of one pair's unpatched run."""
    point = [] if metric.point == "logits" else [metric.point]
    out, acts = model.run(tokens[None], save=point)
    return float(metric((acts[metric.point] if point else out)[:, read], torch.tensor([pair])))
