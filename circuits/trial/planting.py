"""Invented activations at real positions, so that what is behind them is known: rules, noise, clocks, deals.

    planted   y = [rule holds] + noise e + h / dose       e standard normal
    clock     y = f(ply) + noise e                        f of sd 1 over the positions
    noise     four kinds that know nothing of the board
    dealt     a real neuron's activations, dealt to other games at the same ply

The rule's effect is 1 throughout: noise and dose count in effects. A *host* h is a real neuron's activation with the
mean taken off and sd 1 on the training games, so that at dose 2 the rule moves the neuron by two of its own sds; dose
`ALONE` has no host. Rules are drawn from `FAMILIES`, without a look at whether they can be found. Only drawing looks at
positions, at those of the training games alone: a rule has to hold as often as `RATES` says.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuits.errors import InputError
from circuits.features import PATTERNS
from circuits.induction.sample import LayerActs, Sample, Side, Triple, layers
from circuits.notation import CENTRE, N_CTX, N_SQUARES, PLAYABLE
from circuits.rules import Constant, Literal, Or, Rule, conjunction
from circuits.verdicts.neighbours import around, literals, spelled_out, sub_rules

ALONE = float("inf")
#: noise: sd in effects; doses: effect in sds of the host
NOISES = (0.0, 0.125, 0.25, 0.5, 1.0, 2.0)
DOSES = (0.5, 1.0, 2.0, 4.0, ALONE)
#: share of training positions at which a rule holds, at the least and at the most; by family where others are rarer
RATES = (0.02, 0.5)
RARER = (0.005, 0.5)
NOISE_KINDS = ("normal", "heavy-tailed", "by game", "drifting")
CLOCK_KINDS = ("ramp", "step", "bump", "waves")
#: rules drawn in vain before giving up
TRIES = 20_000

_STATES = ("empty", "mine", "theirs", "occupied")
_NEGATED = 0.2  # share of literals on colours that are negations


# ---- rules ---------------------------------------------------------------------------------------------------------


def _line(r: random.Random) -> Rule:
    return conjunction(spelled_out(r.choice(PATTERNS)))


def _conjunction(r: random.Random, size: int) -> Rule:
    """Literals on the states of different squares, one in five of those on colours negated."""

    def literal(square: int) -> Rule:
        name = r.choice(_STATES[1:3] if square in CENTRE else _STATES)
        atom = Literal(square, name)
        return ~atom if name in _STATES[1:3] and r.random() < _NEGATED else atom

    return conjunction(literal(square) for square in r.sample(range(N_SQUARES), size))


def _just_played(r: random.Random) -> Rule:
    """A move, and discs on two of the squares around it."""
    square = r.choice(PLAYABLE)
    beside = r.sample([s for s in around(square) if s not in CENTRE], 2)
    return conjunction([Literal(square, "played"), *(Literal(s, "occupied") for s in beside)])


def _either(r: random.Random) -> Rule:
    """Two conjunctions of two literals each, on four squares."""
    while True:
        rule = _conjunction(r, 2) | _conjunction(r, 2)
        if len({atom.square for atom in rule.atoms}) == 4:
            return rule


#: name -> (how a rule is drawn, its rates)
FAMILIES: dict[str, tuple[Callable[[random.Random], Rule], tuple[float, float]]] = {
    "line": (_line, RARER),
    "one literal": (lambda r: _conjunction(r, 1), RATES),
    "two literals": (lambda r: _conjunction(r, 2), RATES),
    "three literals": (lambda r: _conjunction(r, 3), RATES),
    "just played": (_just_played, RARER),
    "either of two": (_either, RATES),
}


def draw_rules(family: str, packed: Any, n: int, seed: int = 0) -> list[Rule]:
    """Different rules of a family that hold at as many positions as its rates say.

    Args:
        packed: training positions, a `circuits.rules.bits.Packed`.

    Raises:
        InputError: no such family; a set of positions at which so many rules do not hold that often.
    """
    if family not in FAMILIES:
        raise InputError(f"{family!r} is no family of rules: {', '.join(FAMILIES)}")
    how, (least, most) = FAMILIES[family]
    r = random.Random(f"{family} {seed}")
    found: dict[Rule, None] = {}
    for _ in range(TRIES):
        if len(found) == n:
            break
        rule = how(r)
        if not isinstance(rule, Constant) and least <= packed.count(rule) / packed.n <= most:
            found[rule] = None
    if len(found) < n:
        raise InputError(
            f"{len(found)} rules of the family {family!r} hold at {least:.1%} to {most:.0%} of {packed.n:,} positions, "
            f"of {n} asked for: give more games"
        )
    return list(found)


def margin(rule: Rule, packed: Any) -> float:
    """How clearly a rule's literals show at positions: the fewest at which leaving one out changes it, as a share of
    those where it holds. Near 0, one of them could hardly be told from nothing."""
    holds = packed.holds(rule)
    if len(literals(rule)) == 1 or not holds.any():
        return 1.0
    changed = [int((packed.holds(v.rule) != holds).sum()) for v in sub_rules(rule)]
    if isinstance(rule, Or):
        changed += [int((packed.holds(part) & ~_others(rule, part, packed)).sum()) for part in rule.rules]
    return min(changed) / int(holds.sum())


def _others(rule: Or, part: Rule, packed: Any) -> Tensor:
    return torch.stack([packed.holds(other) for other in rule.rules if other is not part]).any(0)


# ---- activations ---------------------------------------------------------------------------------------------------


def planted(
    sample: Sample, rules: Sequence[Rule], noise: float, seed: int, hosts: Triple | None = None, dose: float = ALONE
) -> Triple:
    """One neuron for each rule.

    Args:
        hosts: as many real neurons, standardised (`hosts_of`), for doses other than `ALONE`.

    Raises:
        InputError: a negative noise, a dose that is not above 0, no hosts for it, or another number of them.
    """
    if noise < 0 or dose <= 0:
        raise InputError(f"noise {noise}, dose {dose}: noise is 0 or more and a dose above 0")
    if dose != ALONE and (hosts is None or len(hosts.train) != len(rules)):
        given = "none" if hosts is None else len(hosts.train)
        raise InputError(f"dose {dose} needs a host for each of {len(rules)} rules; {given} given")
    generator = torch.Generator().manual_seed(seed)
    parts = None if hosts is None else _parts(hosts)
    found = []
    for i, side in enumerate(sample.sides):
        y = torch.stack([side.packed.holds(rule) for rule in rules]).float()
        y += noise * torch.randn(y.shape, generator=generator)
        found.append(y if dose == ALONE else y + parts[i] / dose)
    return Triple(*found)


def real_neurons(sample: Sample, each: int, seed: int) -> tuple[Triple, tuple[str, ...]]:
    """Random neurons that vary, ``each`` of every layer, and their names."""
    generator = torch.Generator().manual_seed(seed)
    found, names = [], []
    for acts in layers(sample):
        live = (acts.train.amax(1) > acts.train.amin(1)).nonzero()[:, 0]
        some = live[torch.randperm(len(live), generator=generator)[:each]].sort().values
        found.append([part[some].clone() for part in _parts(acts)])
        names += [acts.names[i] for i in some.tolist()]
    return Triple(*(torch.cat(part).cpu() for part in zip(*found, strict=True))), tuple(names)


def hosts_of(acts: Triple) -> Triple:
    """Neurons with the mean taken off and sd 1, by the training games; those that never vary stay 0."""
    mean = acts.train.double().mean(1, keepdim=True)
    sd = acts.train.double().std(1, correction=0, keepdim=True).clamp_min(1e-12)
    return Triple(*(((part.double() - mean) / sd).float() for part in _parts(acts)))


def some_of(acts: Triple, which: Int[Tensor, "some"]) -> Triple:
    """Some of the neurons."""
    return Triple(*(part[which] for part in _parts(acts)))


def noise(sample: Sample, kind: str, n: int, seed: int) -> Triple:
    """Neurons that know nothing of the board.

    Kinds: "normal"; "heavy-tailed", Student's t with 2.5 degrees through a rectifier, so that most positions are 0;
    "by game", one level a game and a little noise; "drifting", a random walk along each game's plies. Copies of one
    transcript are drawn apart.
    """
    if kind not in NOISE_KINDS:
        raise InputError(f"{kind!r} is no kind of noise: {', '.join(NOISE_KINDS)}")
    generator = torch.Generator().manual_seed(seed)
    return Triple(*(_noise(kind, n, side, generator) for side in sample.sides))


def _noise(kind: str, n: int, side: Side, generator: torch.Generator) -> Float[Tensor, "neuron n"]:
    row, ply = side.packed.row, side.packed.ply

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    if kind == "normal":
        return normal(n, len(row))
    if kind == "heavy-tailed":
        # Student's t as a ratio; chi-squared of 2.5 degrees by torch's gamma, which takes no generator.
        chi = _chi_squared(2.5, (n, len(row)), generator)
        return (normal(n, len(row)) / (chi / 2.5).sqrt()).relu()
    games = int(row.max()) + 1
    if kind == "by game":
        return normal(n, games)[:, row] + 0.2 * normal(n, len(row))
    return normal(n, games, N_CTX).cumsum(-1)[:, row, ply]


def _chi_squared(degrees: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """By Wilson and Hilferty's cube: its tails are as heavy as are needed here."""
    a = 2 / (9 * degrees)
    return degrees * (1 - a + a**0.5 * torch.randn(shape, generator=generator)).clamp_min(0.05) ** 3


def clocks(sample: Sample, kind: str, n: int, noise: float, seed: int) -> Triple:
    """Neurons that follow the ply and nothing else: a ramp, a step, a bump, or slow waves, of random place and width.

    ``noise`` is in sds of the function over the training positions.
    """
    if kind not in CLOCK_KINDS:
        raise InputError(f"{kind!r} is no kind of clock: {', '.join(CLOCK_KINDS)}")
    generator = torch.Generator().manual_seed(seed)
    t = torch.arange(N_CTX).double()
    centre, width = (low + (high - low) * torch.rand(n, 1, generator=generator) for low, high in ((15, 45), (4, 12)))
    if kind == "ramp":
        levels = (t - centre).relu() * torch.where(torch.rand(n, 1, generator=generator) < 0.5, -1, 1)
    elif kind == "step":
        levels = (t >= centre.round()).double()
    elif kind == "bump":
        levels = (-(((t - centre) / width) ** 2) / 2).exp()
    else:
        phase = 6.283 * torch.rand(n, 3, 1, generator=generator)
        period = torch.tensor([60.0, 30.0, 15.0])[:, None]
        levels = (6.283 * t / period + phase).sin().sum(1)
    train = levels[:, sample.train.packed.ply]
    levels = (levels - train.mean(1, keepdim=True)) / train.std(1, keepdim=True)
    return Triple(*(_clock(levels, noise, side.packed.ply, generator) for side in sample.sides))


def _clock(levels: Tensor, noise: float, ply: Int[Tensor, "n"], generator: torch.Generator) -> Float[Tensor, "m n"]:
    here = levels[:, ply].float()
    return here + noise * torch.randn(here.shape, generator=generator)


def dealt(sample: Sample, acts: Triple, seed: int) -> Triple:
    """Activations dealt to other games at the same ply, each neuron's by itself, within each side."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for side, part in zip(sample.sides, _parts(acts), strict=True):
        ply, new = side.packed.ply, torch.empty_like(part)
        here = ply.argsort(stable=True)
        for neuron, own in enumerate(part):
            there = (ply + torch.rand(len(ply), generator=generator, dtype=torch.float64)).argsort()
            new[neuron, here] = own[there]
        found.append(new)
    return Triple(*found)


def _parts(acts: Triple | LayerActs) -> tuple[Tensor, Tensor, Tensor]:
    return acts.train, acts.tune, acts.held_out
