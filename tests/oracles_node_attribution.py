"""Slow, obvious attribution and patching of one node, one pair at a time; and pairs found by trying."""

import torch

from circuits.attribution import LOGITS
from circuits.causes.pairs import Pairs
from circuits.games import generate
from circuits.notation import SQUARE_TOKEN
from circuits.othello import IllegalMove, bits_to_bool, replay


def some_pairs(n: int, seed: int = 31) -> Pairs:
    """Pairs that differ in one move, 0 to 6 plies before the end: the first that are legal, of different games."""
    tokens, found = generate(20 * n, seed=seed).tokens, []
    boards = replay(tokens[:, :59])
    for game in range(len(tokens)):
        first = 6 + game % 30
        end = first + game % 7
        clean = tokens[game].clone()
        clean[end + 1 :] = 0
        for square in bits_to_bool(boards.legal[game, first - 1]).nonzero().flatten().tolist():
            corrupt = clean.clone()
            corrupt[first] = SQUARE_TOKEN[square]
            if corrupt[first] == clean[first]:
                continue
            try:
                after = replay(corrupt[None])
            except IllegalMove:
                continue
            if bool(after.black_to_move[0, end] == boards.black_to_move[game, end]) and bool(after.valid[0, end]):
                found.append((clean, corrupt))
                break
        if len(found) == n:
            break
    clean, corrupt = (torch.stack(side) for side in zip(*found, strict=True))
    return Pairs.of(clean, corrupt)


def runs(pairs, i, direction):
    """(tokens of the run patched into, of the run patched from, the ply read) of one pair."""
    sides = [side[i : i + 1, : int(pairs.ply[i]) + 1].long() for side in (pairs.clean, pairs.corrupt)]
    return (*(sides[::-1] if direction == "clean → corrupt" else sides), int(pairs.ply[i]))


def patched(model, pairs, i, metric, node, direction, change, plies=slice(None), gradients=False):
    """The metric of one pair where a node's activation a is ``change(a of the base run, a of the source run)``."""
    base, source, ply = runs(pairs, i, direction)
    a, b = (node.slice(model.run(t, save=[node.hook])[1][node.hook]) for t in (base, source))
    own = (slice(None), plies)

    def edit(activation, hook):
        part = node.slice(activation)
        value = a.clone()
        value[own] = change(a[own], b[own])
        if node.index is None:
            return value
        part.copy_(value)
        return activation

    point = [] if metric.point == LOGITS else [metric.point]
    out, acts = model.run(base, save=point, edit=[(node.hook, edit)], gradients=gradients)
    return metric((acts[metric.point] if point else out)[:, ply], torch.tensor([i]))[0]


def slope(model, pairs, i, metric, node, direction, at=0.0, plies=slice(None)):
    """d metric / d alpha at ``at`` with the node at a + alpha (a' - a), by autograd through that one node."""
    alpha = torch.tensor(at, requires_grad=True)
    value = patched(
        model, pairs, i, metric, node, direction, lambda a, b: a + alpha * (b - a), plies=plies, gradients=True
    )
    return torch.autograd.grad(value, alpha)[0]
