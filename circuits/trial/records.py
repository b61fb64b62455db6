"""What the trial on planted truth found, as plain numbers: one object, one JSON.

Every share is a `Rate`: k of n, with Wilson's 95 % interval. An *outcome* compares the rule found with the one planted
(`circuits.trial.outcomes`):

    recovered          logically equivalent
    with the host's    the planted rule, or what the host does by itself
    listed             another rule is reported, the planted one among those that the games do not tell apart from it
    refined            ... the planted one among longer ones that the games prefer, left out for what a literal costs
    near miss, told    a near miss, beside a rule that is as near or nearer, but the planted one is not listed
    near miss, bounded the planted rule less a literal, which differs at no more positions than it says one more literal
                       may without showing
    near miss, silent  a near miss as if it were the rule: what must not happen
    host               a rule that describes the host, which moves the neuron more than the planted one
    other              another rule
    nothing            no rule
    better             of neurons that do not follow the planted rule alone, on a host or planted through weights: a
                       rule that explains more of the neuron than the planted one, by `BY` of held-out variance

A rule is *called* where its status is "explained" or "partly".
"""

from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar

from circuits.serial import Record
from circuits.verdicts.grades import CORRELATES, GRADES

RECOVERED, WITH_HOST, LISTED, REFINED = "recovered", "with the host's", "listed", "refined"
TOLD, BOUNDED, SILENT = "near miss, told", "near miss, bounded", "near miss, silent"
HOST, OTHER, NOTHING, BETTER = "host", "other", "nothing", "better"
OUTCOMES = (RECOVERED, WITH_HOST, LISTED, REFINED, TOLD, BOUNDED, SILENT, BETTER, HOST, OTHER, NOTHING)
BY = 0.01
#: the planted rule was found, or is there to be seen
FOUND = (RECOVERED, WITH_HOST)
SEEN = (*FOUND, LISTED, REFINED)
CALLED = ("explained", "partly")
LEVEL = 0.95
#: dose from which a rule moves a neuron more than its host does by itself
STRONG = 2.0
#: what that headline says
HOSTED = f"planted rules recovered on a real neuron, dose {STRONG:g} or more, same noise"
#: noise up to which rules are to be recovered, in effects
SMALL = 0.5


@dataclass(frozen=True)
class Rate(Record):
    """k of n with the ends of Wilson's interval; 0..1 of nothing."""

    k: int
    n: int
    low: float
    high: float

    @property
    def value(self) -> float:
        return self.k / self.n if self.n else 0.0


def rate(k: int, n: int) -> Rate:
    """Wilson 1927: the p for which k of n is within z standard errors of p."""
    if not n:
        return Rate(0, 0, 0.0, 1.0)
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    centre = (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * (k * (n - k) / n + z * z / 4) ** 0.5
    return Rate(k, n, max(0.0, centre - half) if k else 0.0, min(1.0, centre + half) if k < n else 1.0)


@dataclass(frozen=True)
class Headline:
    """A share, and what it should be at the least, or at the most."""

    what: str
    rate: Rate
    asked: float
    at_least: bool

    @property
    def met(self) -> bool | None:
        """None where nothing was tried."""
        if not self.rate.n:
            return None
        return self.rate.value >= self.asked if self.at_least else self.rate.value <= self.asked


@dataclass(frozen=True)
class Planted(Record):
    """One neuron with a known rule, and what was found.

    Attributes:
        noise: in effects; dose: effect in sds of the host, None without one.
        base_rate: share of the training positions; margin: how clearly its literals show (`planting.margin`).
        found: the rule reported; alternatives: those said not to be told apart from it; refined, unseen: as of
            `records.NeuronRule`.
        other: the best rule of the other source.
        agreement: F1 between the held-out positions of the rule found and the one planted.
    """

    family: str
    noise: float
    dose: float | None
    seed: int
    rule: str
    base_rate: float
    margin: float
    status: str
    source: str | None
    found: str | None
    other: str | None
    alternatives: tuple[str, ...]
    outcome: str
    agreement: float
    variance_explained: float
    refined: tuple[str, ...] = ()
    unseen: int | None = None

    @property
    def called(self) -> bool:
        return self.status in CALLED


@dataclass(frozen=True)
class Blank(Record):
    """Neurons of a kind behind which there is no rule (or only the ply), by what they were said to be."""

    kind: str
    n: int
    statuses: dict[str, int]
    by_ply: int  # called, by a rule that explains no more than the ply does, or hardly
    worst: float  # the most variance that a reported rule explains of one, held out
    worst_rule: str | None = None

    def share(self, *statuses: str) -> Rate:
        return rate(sum(self.statuses.get(status, 0) for status in statuses), self.n)


def sum_of(blanks: tuple[Blank, ...], *statuses: str) -> Rate:
    """The share with one of some statuses, of several kinds together."""
    shares = [blank.share(*statuses) for blank in blanks]
    return rate(sum(s.k for s in shares), sum(s.n for s in shares))


@dataclass(frozen=True)
class Graded(Record):
    """A claim about a planted neuron and its verdict.

    Attributes:
        kind: "true", or how the decoy was made (`circuits.trial.decoys`).
        correlation: phi between the claim and the planted rule, over training positions.
        moves: for each fact of the claim, what its toggles were found to do, in words.
    """

    unit: str
    claim: str
    kind: str
    correlation: float
    grade: str
    variance_explained: float | None = None
    moves: tuple[str, ...] = ()


@dataclass(frozen=True)
class ThroughWeights(Record):
    """A neuron planted through its weights, found among the model's own.

    Attributes:
        planting: F1 of its pre-activation against its rule on the probe's games: how well the planting itself went.
        fits: held-out variance that the planted rule explains of its activation.
        found, alternatives, outcome, status: as of `Planted`; explained: what the rule found explains.
    """

    unit: str
    seed: int
    claim: str
    planting: float
    fits: float
    status: str
    found: str | None
    alternatives: tuple[str, ...]
    outcome: str
    explained: float


@dataclass(frozen=True)
class Trial(Record):
    """The whole trial.

    Attributes:
        planted: one row each; weights: planted through weights; graded: claims about those, true ones and decoys.
        noise, clocks: invented neurons by kind; dealt: real neurons dealt to other games; real: the same undealt.
    """

    VERSION: ClassVar[int] = 1

    model: str
    model_hash: str
    games: int
    train_positions: int
    held_out_positions: int
    band: tuple[int, int]
    seeds: tuple[int, ...]
    planted: tuple[Planted, ...]
    noise: tuple[Blank, ...]
    clocks: tuple[Blank, ...]
    dealt: Blank
    real: Blank
    weights: tuple[ThroughWeights, ...] = ()
    graded: tuple[Graded, ...] = ()
    seconds: float | None = None
    version: int = 1

    def of(
        self, *outcomes: str, family: str | None = None, noises: tuple[float, ...] | None = None,
        doses: tuple[float | None, ...] | None = None, called: bool = False,
    ) -> Rate:  # fmt: skip
        """The share of planted neurons with one of some outcomes; ``called``: and whose rule is called."""
        among = [
            p for p in self.planted
            if (family is None or p.family == family) and (noises is None or p.noise in noises)
            and (doses is None or p.dose in doses)
        ]  # fmt: skip
        return rate(sum(p.outcome in outcomes and (p.called or not called) for p in among), len(among))

    @property
    def headlines(self) -> tuple["Headline", ...]:
        """The shares that the tool is judged by; those of parts that were not run are of nothing."""
        small = tuple(noise for noise in self.noises if noise <= SMALL)
        blanks = [sum_of(kinds, *statuses) for kinds, statuses in (
            (self.noise, CALLED), (self.clocks, ("clock",)), ((self.dealt,), ("explained",)),
        )]  # fmt: skip
        true = [GRADES.index(g.grade) for g in self.graded if g.kind == "true"]
        decoys = [GRADES.index(g.grade) for g in self.graded if g.kind != "true"]
        correlates = GRADES.index(CORRELATES)
        planted = self.of(RECOVERED, noises=small, doses=(None,))
        hosted = self.of(*FOUND, noises=small, doses=tuple(d for d in self.doses if d is not None and d >= STRONG))
        weights = rate(sum(w.outcome == RECOVERED for w in self.weights), len(self.weights))
        causal = [rate(sum(g > correlates for g in grades), len(grades)) for grades in (decoys, true)]
        return (
            Headline("planted rules recovered, no host, noise up to half the effect", planted, 0.95, True),
            Headline(HOSTED, hosted, 0.95, True),
            Headline("near misses reported as if they were the rule", self.of(SILENT), 0.0, False),
            Headline("noise neurons of which a rule is called", blanks[0], 0.01, False),
            Headline("clock neurons called clocks", blanks[1], 0.95, True),
            Headline("real neurons dealt to other games called explained", blanks[2], 0.0, False),
            Headline("rules planted through weights recovered", weights, 0.95, True),
            Headline("decoys graded as causal", causal[0], 0.0, False),
            Headline("rules planted through weights graded as causal", causal[1], 0.95, True),
        )

    @property
    def families(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(p.family for p in self.planted))

    @property
    def noises(self) -> tuple[float, ...]:
        return tuple(sorted({p.noise for p in self.planted}))

    @property
    def doses(self) -> tuple[float | None, ...]:
        """In ascending order, None (without a host) last."""
        found = {p.dose for p in self.planted}
        return (*sorted(d for d in found if d is not None), *((None,) if None in found else ()))
