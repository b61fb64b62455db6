"""The slow, obvious version of what a subject's ablation does: whole transcripts run one by one with a hook."""

import torch
from torch import Tensor

from circuits.ablation import relative
from circuits.rule_places import Places
from circuits.rule_subjects import Subject


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


def logit(square_number: int):
    """A move's logit less the mean over the 60, by its number among the moves."""
    return lambda logits, acts: relative(logits[None])[0, square_number]


def log_odds(reader, square: int, which: int, hook: str):
    def read(logits, acts):
        p = (acts[hook].double() @ reader.weight[:, square].double() + reader.bias[square]).softmax(-1)[which]
        return (p / (1 - p)).log()

    return read
