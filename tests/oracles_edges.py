"""Edges the slow way: path patching by whole runs with everything else held (Wang et al. 2023), and a masked pass
that goes edge by edge over one transcript. Also hand-made pairs and models."""

import torch
import torch.nn.functional as F

from circuits import plain
from circuits.causes.pairs import Pairs
from circuits.checkpoints import Shape, weight_shapes
from circuits.games import generate
from circuits.gpt import activation
from circuits.notation import square, token
from circuits.othello import bits_to_bool, replay


def random_pairs(count: int, seed: int = 0, depth: int = 1, low: int = 8, high: int = 30) -> Pairs:
    """Random games and the same ones with another legal move ``depth`` plies before the end, then random play."""
    games = generate(2 * count, seed=seed).tokens
    generator = torch.Generator().manual_seed(seed)
    clean, corrupt, game = [], [], []
    for i in range(len(games)):
        end = int(torch.randint(low, high, (1,), generator=generator)) + 1
        one, other = games[i, :end], games[i, : end - depth].clone()
        for step in range(depth):
            legal = bits_to_bool(replay(other[None])[0, -1].legal).nonzero().flatten()
            options = [token(int(s)) for s in legal if step or token(int(s)) != int(one[end - depth])]
            if options:
                other = torch.cat([other, torch.tensor([options[i % len(options)]], dtype=torch.uint8)])
        try:
            Pairs.of(one[None], other[None])
        except ValueError:
            continue
        clean.append(F.pad(one, (0, 60 - end)))
        corrupt.append(F.pad(other, (0, 60 - end)))
        game.append(i)
        if len(clean) == count:
            return Pairs.of(torch.stack(clean), torch.stack(corrupt), game=torch.tensor(game))
    raise ValueError("too few random games gave a pair")


def nodes_of(model) -> list[str]:
    """Hooks of everything that writes, whole layers' heads and neurons."""
    return [f"blocks.{i}.{hook}" for i in range(model.shape.n_layers) for hook in ("attn.hook_z", "mlp.hook_post")]


def path_effect(model, pairs, path, metric, direction="clean → corrupt"):
    """Path patching with LayerNorm recomputed: every node but the next on the path held at its base value.

    path: Nodes, the last one possibly "target" for a metric on the logits.
    """
    base_tokens, other_tokens = pairs.corrupt[:, :59].long(), pairs.clean[:, :59].long()
    if direction == "corrupt → clean":
        base_tokens, other_tokens = other_tokens, base_tokens
    held = nodes_of(model)
    logits, base = model.run(base_tokens, save=[*held, "hook_embed"])
    value = path[0].slice(model.run(other_tokens, save=[path[0].hook])[1][path[0].hook])
    row, sender = torch.arange(len(pairs)), path[0]

    def put(node, value):
        def edit(x, hook):
            node.slice(x)[...] = value

        return node.hook, edit

    def hold(name):
        return name, lambda x, hook: base[name]

    before = metric(logits[row, pairs.ply], row)
    for node in path[1:]:
        holding = [hold(name) for name in held]
        if node == "target":
            after = model.run(base_tokens, edit=[*holding, put(sender, value)])[0]
            return metric(after[row, pairs.ply], row) - before
        # What the receiver reads when only the sender has changed...
        reads = node.hook if node.kind in "qkv" else f"blocks.{node.layer}.mlp.hook_pre"
        _, seen = model.run(base_tokens, save=[reads], edit=[*holding, put(sender, value)])
        part = node.slice(seen[reads]) if node.kind in "qkv" else seen[reads][..., node.index]

        # ... and what comes of it, in a base run that is otherwise its own.
        def receive(x, hook, node=node, part=part):
            if node.kind in "qkv":
                node.slice(x)[...] = part
            else:
                x[..., node.index] = part

        writer = type(node)("head" if node.kind in "qkv" else "neuron", node.layer, node.index)
        after, saved = model.run(base_tokens, save=[writer.hook], edit=[(reads, receive)])
        sender, value = writer, writer.slice(saved[writer.hook])
    return metric(after[row, pairs.ply], row) - before


def masked(model, graph, kept, clean, references, metric, ply, pair, layer_norm="recomputed", embed=None, nudge=None):
    """The metric of one pair where only the edges ``kept`` carry: set of (sender, receiver) names.

    clean: tokens [ply]; references: name of a sender, or "stream" and a place -> [ply, d_model], what it writes and
    what the stream is in the reference. embed [ply, d_model] replaces the tokens' own; nudge: (sender, receiver) ->
    what is added to what this receiver reads from this sender.
    """
    plies = ply + 1
    now = {"embed": model.W_E[clean[:plies].long()] if embed is None else embed}

    def read(receiver, place):
        x = references["stream", place][:plies].clone()
        for sender in now:
            if (sender, receiver) in kept:
                x = x + now[sender] - references[sender][:plies]
            if nudge is not None:
                x = x + nudge[sender, receiver]
        scaled = references["stream", place][:plies] if layer_norm == "frozen" else x
        scale = (scaled.var(-1, keepdim=True, unbiased=False) + model.shape.eps).sqrt()
        return x, (x - x.mean(-1, keepdim=True)) / scale

    def finish():
        x, n = read("target", graph.place)
        out = n @ model.W_U + model.b_U if graph.point == "logits" else x
        return metric(out[-1:], torch.tensor([pair]))[0]

    opened = [(n.layer, n.index) for n in graph.opened]
    for place in range(graph.place):
        layer, mlp = divmod(place, 2)
        writes = {}
        if mlp:
            _, n = read(f"L{layer} MLP", place)
            post = activation(model.shape.act)(n @ model.W_in(layer) + model.b_in(layer))
            rest = [i for i in range(model.shape.d_mlp) if (layer, i) not in opened]
            writes[f"L{layer} MLP"] = post[:, rest] @ model.W_out(layer)[rest]
            for i in (i for at, i in opened if at == layer):
                _, n = read(f"L{layer}N{i}", place)
                post = activation(model.shape.act)(n @ model.W_in(layer)[:, i] + model.b_in(layer)[i])
                writes[f"L{layer}N{i}"] = post[:, None] * model.W_out(layer)[i]
        else:
            for i in range(model.shape.n_heads):
                parts = []
                for kind in "QKV":
                    _, n = read(f"L{layer}H{i}.{kind.lower()}", place)
                    weight, bias = (model.weight(f"blocks.{layer}.attn.{x}_{kind}")[i] for x in "Wb")
                    parts.append(n @ weight + bias)
                q, k, v = parts
                scores = q @ k.T / model.shape.d_head**0.5
                scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), float("-inf"))
                writes[f"L{layer}H{i}"] = scores.softmax(-1) @ v @ model.W_O(layer)[i]
        now |= writes
    return finish()


def references(model, graph, tokens):
    """What every sender writes, and the stream at every place, meaned over games by ply: tokens [game, ply]."""
    hooks = [f"blocks.{i}.{h}" for i in range(model.shape.n_layers) for h in ("hook_resid_pre", "hook_resid_mid")]
    writers = nodes_of(model)
    _, acts = model.run(tokens, save=["hook_embed", "blocks.2.hook_resid_post", *hooks, *writers])
    mean = {name: act.mean(0) for name, act in acts.items()}
    found = {("stream", i): mean[hook] for i, hook in enumerate([*hooks, "blocks.2.hook_resid_post"])}
    found["embed"] = mean["hook_embed"]
    opened = [(n.layer, n.index) for n in graph.opened]
    for layer in range(model.shape.n_layers):
        for i in range(model.shape.n_heads):
            found[f"L{layer}H{i}"] = mean[f"blocks.{layer}.attn.hook_z"][:, i] @ model.W_O(layer)[i]
        post, out = mean[f"blocks.{layer}.mlp.hook_post"], model.W_out(layer)
        rest = [i for i in range(model.shape.d_mlp) if (layer, i) not in opened]
        found[f"L{layer} MLP"] = post[:, rest] @ out[rest]
        for i in (i for at, i in opened if at == layer):
            found[f"L{layer}N{i}"] = post[:, i, None] * out[i]
    return found


def edge_slopes(model, graph, clean, corrupt, metric, ply, pair, a):
    """(sender, receiver) -> the derivative of the metric along an edge's change, at an input on the way to corrupt."""
    (one, other), plies = (references(model, graph, t[None, : ply + 1]) for t in (clean, corrupt)), ply + 1
    names = [(s, r) for s, r in graph.edges(graph.allowed)]
    size = torch.zeros(len(names), requires_grad=True)
    nudge = {(str(s), str(r)): torch.zeros(()) for s in graph.senders for r in graph.receivers}
    for i, (s, r) in enumerate(names):
        nudge[s, r] = size[i] * (other[s] - one[s])[:plies]
    embed = one["embed"] + a * (other["embed"] - one["embed"])
    value = masked(model, graph, set(names), clean, one, metric, ply, pair, embed=embed, nudge=nudge)
    (slopes,) = torch.autograd.grad(value, size)
    return dict(zip(names, slopes.tolist(), strict=True))


def wired_model(noise: float = 0.05):
    """Two layers whose only circuit is known: a feature f of the last token reaches a logit by two ways,

        embed → L0H1 (value) → L1N3 → C2 logit        and        embed → L1N5 → C2 logit

    Everything else reads and writes noise in directions orthogonal to these. Feature: +1 for odd tokens, else −1.
    """
    shape = Shape(2, 48, 2, 4, 8, act="relu")
    generator = torch.Generator().manual_seed(11)
    basis = torch.linalg.qr(torch.cat([torch.ones(48, 1), torch.randn(48, 47, generator=generator)], 1)).Q[:, 1:].T
    f, u, w, rest = basis[0], basis[1], basis[2], basis[4:]
    weights = {name: torch.zeros(size) for name, size in weight_shapes(shape).items()}
    for name, weight in weights.items():
        if name.endswith(".w"):
            weight.fill_(1.0)

    def random(*size):
        return noise * torch.randn(*size, generator=generator)

    # The stream's length is that of basis[3], in every position: LayerNorm hardly moves.
    weights["pos_embed.W_pos"][:] = 6 * basis[3]
    sign = torch.arange(61) % 2 * 2.0 - 1
    weights["embed.W_E"] = sign[:, None] * f + random(61, 43) @ rest
    for layer in range(2):
        block = f"blocks.{layer}"
        for x in "QKV":
            weights[f"{block}.attn.W_{x}"] = (rest.T @ random(43, 8)).unflatten(1, (2, 4)).movedim(1, 0).contiguous()
        weights[f"{block}.attn.W_O"] = (random(8, 43) @ rest).unflatten(0, (2, 4))
        weights[f"{block}.mlp.W_in"] = rest.T @ random(43, 8)
        weights[f"{block}.mlp.W_out"] = random(8, 43) @ rest
        weights[f"{block}.mlp.b_in"].fill_(1.0)
    head = "blocks.0.attn"
    weights[f"{head}.W_V"][1], weights[f"{head}.W_O"][1] = 0, 0
    weights[f"{head}.W_V"][1, :, 0], weights[f"{head}.W_O"][1, 0] = f, 4 * u
    for name in ("W_Q", "W_K"):
        weights[f"{head}.{name}"][1] = 0
    weights["blocks.1.mlp.W_in"][:, 3], weights["blocks.1.mlp.W_in"][:, 5] = u, f
    weights["blocks.1.mlp.b_in"][[3, 5]] = 6.0
    weights["blocks.1.mlp.W_out"][3], weights["blocks.1.mlp.W_out"][5] = 0.2 * w, 0.2 * w
    weights["unembed.W_U"][:, token(square("C2"))] = 4 * w
    return plain.build(shape, weights, {}, "wired")


WIRED = {
    ("embed", "L0H1.v"),
    ("embed", "L1N5"),
    ("L0H1", "L1N3"),
    ("L1N3", "target"),
    ("L1N5", "target"),
}


def wired_pairs(count: int, seed: int = 21):
    """Pairs whose clean last move has an odd token, and the corrupt one an even one."""
    pairs = random_pairs(6 * count, seed=seed, low=5, high=16)
    row = torch.arange(len(pairs))
    odd, other = (t[row, pairs.ply] % 2 == 1 for t in (pairs.clean, pairs.corrupt))
    return pairs[(odd & ~other).nonzero().flatten()[:count]]
