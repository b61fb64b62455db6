"""The rule in the subject's place: what the model loses when the subject only says whether the rule holds.

At every ply of whole games the subject's values are replaced by the rule's two levels, their means over training
positions where it holds and where it fails; beside it by their one mean, and by the two levels dealt at random, as
often as the rule holds. A rule that says all that matters about a subject costs little, and less than the other two.

    KL      of the model's move probabilities to those with the subject replaced, nats
    error   change of the top-N error against the legal moves (`circuits.behaviour`), moves
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuits.behaviour import legal_tokens, score_positions
from circuits.lean_pass import entering
from circuits.rules import Rule
from circuits.rules.bits import Packed
from circuits.verdicts.readings import Ground, Readings, groups
from circuits.verdicts.subjects import Subject

#: what stands in the subject's place, in the order of `Levels.of`
KINDS = ("the rule’s two levels", "its mean", "two levels dealt at random")
#: held-out games run whole
GAMES = 24


@dataclass(frozen=True, eq=False)
class Levels:
    """A subject's training means [k]: where the rule holds, where it fails, everywhere; and how often it holds."""

    on: Float[Tensor, "k"]
    off: Float[Tensor, "k"]
    mean: Float[Tensor, "k"]
    rate: float

    @staticmethod
    def learn(train: Readings, holds: Bool[Tensor, "position"]) -> "Levels":
        """From training positions, at some of which the rule holds and at some of which it fails."""
        values = train.values.double()
        on, off, mean = (values[rows].mean(0).float() for rows in (holds, ~holds, slice(None)))
        return Levels(on, off, mean, float(holds.double().mean()))

    def of(self, holds: Bool[Tensor, "*batch"], generator: torch.Generator) -> tuple[Float[Tensor, "*batch k"], ...]:
        """The values of each of `KINDS`."""
        dealt = torch.rand(holds.shape, generator=generator) < self.rate
        two, random = (torch.where(where[..., None], self.on, self.off) for where in (holds, dealt))
        return two, self.mean.expand_as(two), random


def divergence(
    before: Float[Tensor, "*batch token"], after: Float[Tensor, "*batch2 token"]
) -> Float[Tensor, "*batch3"]:
    """KL(before || after), nats."""
    p, q = before.log_softmax(-1), after.log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)


def worse(
    before: Float[Tensor, "position token"],
    after: Float[Tensor, "position token"],
    legal: Bool[Tensor, "position token"],
) -> Float[Tensor, "position"]:
    """Change of the top-N error."""
    was, now = (score_positions(x, legal)["top_n_error"] for x in (before, after))
    return now - was


@torch.no_grad()
def replaced_runs(
    ground: Ground, subject: Subject, rule: Rule, levels: Levels, n: int = GAMES
) -> tuple[Float[Tensor, "kind 2 position"], Int[Tensor, "position"]]:
    """KL and change of error of each of `KINDS` at the band's positions of whole held-out games, and their groups."""
    model, games = ground.model, ground.held_out[:n]
    boards, plies = games.boards(), ground.band.stop
    packed = Packed(boards)
    holds = torch.zeros_like(boards.valid)
    holds[packed.where] = packed.holds(rule)
    generator = torch.Generator().manual_seed(ground.seed + 2)
    where = torch.zeros_like(boards.valid)
    where[:, ground.band] = boards.valid[:, ground.band]
    where, tokens, start = where[:, :plies], games.inputs[:, :plies], subject.first_layer
    legal = legal_tokens(boards.legal[:, :plies][where]).to(model.device)
    # Up to the subject all runs are one.
    x = entering(model, tokens, start)
    before = model.run(x, start_at=start)[0][where]
    found = []
    for new in levels.of(holds[:, :plies], generator):
        after = model.run(x, edit=subject.edits(new), start_at=start)[0][where]
        found.append(torch.stack([divergence(before, after), worse(before, after, legal)]))
    return torch.stack(found).cpu(), groups(games)[where.nonzero()[:, 0]]
