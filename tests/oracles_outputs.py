"""The slow, obvious version of what a subject's ablation does: whole transcripts run one by one with a hook."""

import torch
from torch import Tensor

from circuits.causes.ablation import relative
from circuits.verdicts.places import Places
from circuits.verdicts.subjects import Subject


def run_one(places: Places, place: int, subject: Subject | None, new: Tensor | None, save=()):
    """Logits [token] and activations at one place, the subject's values there replaced by ``new`` [k] by hand."""
    model, ply = places.model, int(places.ply[place])
    tokens = places.games.inputs[int(places.row[place])][None, : ply + 1]
    edits = []
    for i, node in enumerate(subject.nodes if subject is not None else ()):

        def change(x, hook, i=i, node=node):
            if subject.kind == "direction":
                x[0, ply] += (new[0] - x[0, ply] @ subject.vector) * subject.vector
            elif subject.kind == "head":
                x[0, ply, node.index] = new
            else:
                x[0, ply, node.index] = new[i]

        edits.append((node.hook, change))
    logits, acts = model.run(tokens, save=save, edit=edits)
    return logits[0, ply], {name: x[0, ply] for name, x in acts.items()}


def losses(places: Places, which: Tensor, subject: Subject, new: Tensor, read, save=()) -> Tensor:
    """[place]: ``read(logits, acts)`` of the unchanged run less that of the changed one."""
    found = []
    for place in which.tolist():
        before, after = run_one(places, place, None, None, save), run_one(places, place, subject, new, save)
        found.append(read(*before) - read(*after))
    return torch.stack(found)


def kl(places: Places, which: Tensor, subject: Subject, new: Tensor) -> Tensor:
    found = []
    for place in which.tolist():
        p = run_one(places, place, None, None)[0].log_softmax(-1)
        q = run_one(places, place, subject, new)[0].log_softmax(-1)
        found.append((p.exp() * (p - q)).sum())
    return torch.stack(found)


def beside(places: Places, which: Tensor, subject: Subject, off: Tensor, other: Tensor | list, means, read) -> Tensor:
    """[place]: what is lost by a control: ``other`` [d_model] added where the subject writes, or neurons (with
    ``means``) changed towards their means; by as much, layer by layer, as the subject's ablation moves the stream."""
    model, found = places.model, []
    for place in which.tolist():
        ply, edits = int(places.ply[place]), []
        tokens = places.games.inputs[int(places.row[place])][None, : ply + 1]
        moved = off - places.values[place]
        if isinstance(other, Tensor):
            if subject.kind == "head":
                node = subject.nodes[0]
                far = (moved @ model.W_O(node.layer)[node.index]).norm()
            else:
                far = moved.abs()[0]

            def push(x, hook, far=far, ply=ply):
                x[0, ply] += far * other

            edits.append((subject.writes, push))
        else:
            for layer in sorted({node.layer for node in other}):
                d = sum(moved[i] * model.W_out(layer)[n.index] for i, n in enumerate(subject.nodes) if n.layer == layer)
                own = [n for n in other if n.layer == layer]

                def change(x, hook, d=d, own=own, layer=layer, ply=ply):
                    c = [means[n] - x[0, ply, n.index] for n in own]
                    together = sum(a * model.W_out(layer)[n.index] for a, n in zip(c, own, strict=True)).norm()
                    for a, n in zip(c, own, strict=True):
                        x[0, ply, n.index] += a * d.norm() / together

                edits.append((f"blocks.{layer}.mlp.hook_post", change))
        before, after = model.run(tokens)[0][0, ply], model.run(tokens, edit=edits)[0][0, ply]
        found.append(read(before, {}) - read(after, {}))
    return torch.stack(found)


def difference(holds: Tensor, holds_group: Tensor, fails: Tensor, fails_group: Tensor, draws: int, seed: int) -> Tensor:
    """[draw]: mean of the one less mean of the other over games drawn with replacement, one by one."""
    games = sorted({*holds_group.tolist(), *fails_group.tolist()})
    generator, found = torch.Generator().manual_seed(seed), []
    for _ in range(draws):
        a, b = [], []
        for i in torch.randint(len(games), (len(games),), generator=generator).tolist():
            a.append(holds[holds_group == games[i]])
            b.append(fails[fails_group == games[i]])
        found.append(torch.cat(a).mean() - torch.cat(b).mean())
    return torch.stack(found)


def logit(square_number: int):
    """A move's logit less the mean over the 60, by its number among the moves."""
    return lambda logits, acts: relative(logits[None])[0, square_number]


def log_odds(reader, square: int, which: int, hook: str):
    def read(logits, acts):
        p = (acts[hook].double() @ reader.weight[:, square].double() + reader.bias[square]).softmax(-1)[which]
        return (p / (1 - p)).log()

    return read
