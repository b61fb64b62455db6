"""What a neuron's causal tests are about: its fact, the move that is looked at, the games; and means with intervals."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuits.causes.counterfactuals import counterfactuals
from circuits.causes.effects import Ratio, Summary, ratio_of_sums, summarise
from circuits.causes.pairs import Pairs
from circuits.causes.recorded_games import RecordedGames
from circuits.errors import InputError
from circuits.notation import LABELS, SQUARE_TOKEN, Unit
from circuits.patterns import FACTS
from reports.causes import records as c
from reports.fit_records import Fit
from reports.headline import MATCHES, PARTLY, headline
from reports.records import NeuronRecord
from reports.workbench import Workbench

#: pairs at most; with fewer than MIN_PAIRS games nothing is said of them
PAIRS, MIN_PAIRS = 80, 10
#: effects of many units together: shown where the family-corrected p is at most this
ALPHA = 0.05


@dataclass(frozen=True, eq=False)
class Subject:
    """A neuron, and what it is asked about."""

    bench: Workbench
    record: NeuronRecord

    @property
    def unit(self) -> Unit:
        return Unit(self.record.layer, "neuron", self.record.index)

    @property
    def recorded(self) -> RecordedGames:
        return self.bench.held_out

    @cached_property
    def fit(self) -> Fit | None:
        """The best fact, where the neuron follows it at least in part."""
        return self.record.patterns.best if headline(self.record).grade in (MATCHES, PARTLY) else None

    @cached_property
    def square(self) -> tuple[int, str]:
        """The move whose logit is looked at, and why."""
        fit = self.fit
        if fit and (fit.direction or fit.literal in ("legal", "empty")) and SQUARE_TOKEN[LABELS.index(fit.square)]:
            return LABELS.index(fit.square), "the square of its best fact"
        logits = [0.0 if v is None else abs(v) for v in self.record.writes.logits]
        return max(range(64), key=logits.__getitem__), "the move to whose logit it writes most strongly"

    @cached_property
    def activations(self) -> Float[Tensor, "position"]:
        """Of every position of the gallery."""
        return self.bench.gallery.activations(self.unit)

    def holds(self) -> Bool[Tensor, "position"]:
        """Where the fact holds, of the gallery's positions."""
        return self.bench.gallery.fact(FACTS.index(self.fit.name))

    @cached_property
    def pairs(self) -> tuple[Pairs | None, str | None]:
        """Counterfactual pairs on the fact, or why there are none."""
        if self.fit is None:
            return None, "it follows no single fact, so there is no fact to change"
        mining, games = self.bench.mining, self.recorded.games
        try:
            band = slice(mining.first_ply, mining.last_ply + 1)
            found = counterfactuals(games, self.fit.name, PAIRS, plies=band, seed=self.bench.seed)
        except InputError as error:
            return None, str(error)
        if len(found) < MIN_PAIRS:
            words = f"only {len(found)} of the {len(games)} held-out games has a counterfactual for {self.fit.name!r}"
            return None, f"{words}; at least {MIN_PAIRS} are asked for"
        return found, None


def effect(summary: Summary, *index: int, p: bool = False) -> c.Effect:
    """One of the effects of a summary."""
    mean, low, high, family = (float(t[index]) for t in (summary.mean, summary.low, summary.high, summary.p_family))
    return c.Effect(mean, *(None if v != v else v for v in (low, high)), family if p else None)


def effect_of(values: Float[Tensor, "pair"], game: Int[Tensor, "pair"]) -> c.Effect:
    """The mean of some values with its interval."""
    return effect(summarise(values, game, flips=1))


def share_of(part: Float[Tensor, "pair"], whole: Float[Tensor, "pair"], game: Int[Tensor, "pair"]) -> c.Effect | None:
    """Mean of a part over the mean of the whole, with its interval; None where the whole could be zero."""
    _, group = game.unique(return_inverse=True)
    sums = torch.zeros(2, int(group.max()) + 1, dtype=torch.float64)
    sums.index_add_(1, group, torch.stack([part, whole]).double().cpu())
    ratio: Ratio = ratio_of_sums(sums[0], sums[1])
    value, low, high = (float(t) for t in (ratio.value, ratio.low, ratio.high))
    return None if value != value else c.Effect(value, *(None if v != v else v for v in (low, high)))


def move_vector(model, square: int) -> Float[Tensor, "d_model"]:
    """What a move's logit reads of the normalised final stream, relative to the mean over the 60 moves."""
    W = model.W_U
    u = W[:, int(SQUARE_TOKEN[square])] - W[:, 1:].mean(1)
    return u - u.mean()
