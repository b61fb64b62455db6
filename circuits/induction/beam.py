"""The best conjunctions for many activations at once, by matrix products.

With an activation's mean taken off and its variance 1, a rule that holds at k of n positions with sum s there explains

    s^2 / (k (n - k))                      of the variance by its two means

so that k and s are all that a search needs. For the rules of several neurons with every fact added they come from one
product of (rules x positions) and (positions x facts), exact in integers (`circuits.induction.bytes`); for every fact's
negation they are what that leaves of the rule's own. Beam search keeps the best `BEAM` conjunctions of a neuron that do
not hold at the same positions, and adds a literal to each. Only rules that hold where the activation is high are looked
for: a neuron that is off where something holds is on where it fails.

Given where other terms hold already (a *base*), it looks for the conjunctions that explain most together with these:
sums over the positions left, and k and s of the base added.
"""

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from circuits.induction.bytes import LARGEST, digits, everywhere
from circuits.induction.facts import Facts, Term

#: rules carried from one number of literals to the next
BEAM = 6
MOST_LITERALS = 4
#: positions where a rule must hold, and where it must fail
LEAST = 20
#: candidates among which those are found that hold at different positions
_SHORTLIST = 48

Subset = UInt8[Tensor, "*rule byte"]


@dataclass(frozen=True, eq=False)
class Sums:
    """Positions of each rule with each literal (facts, then their negations), and the activation's sum there; and the
    same of the rule alone, [rule, 1]. Whole numbers: sums are in steps of the activation."""

    k: Int[Tensor, "rule literal"]
    s: Int[Tensor, "rule literal"]
    alone_k: Int[Tensor, "rule 1"]
    alone_s: Int[Tensor, "rule 1"]


@dataclass(frozen=True, eq=False)
class Beam:
    """The best conjunctions of each neuron, by number of literals (from 1), best first.

    Attributes:
        codes: of each size, the literals of `BEAM` rules.
        explained: variance explained, with the base; -1 where there is no such rule.
    """

    codes: list[Int[Tensor, "neuron beam size"]]
    explained: list[Float[Tensor, "neuron beam"]]


class Search:
    """The activations of some neurons at training positions, for sums over subsets of these."""

    def __init__(self, facts: Facts, acts: Float[Tensor, "neuron n"]):
        self.facts, (self.neurons, self.n) = facts, acts.shape
        self.all = everywhere(self.n, torch.device("cpu"))[0]
        y = acts.double()
        y = y - y.mean(1, keepdim=True)
        self._values = digits(y, None)[0]
        # Sums are counted in steps of the activation, and so is the squared deviation.
        step = y.abs().amax(1, keepdim=True).clamp_min(1e-300) / LARGEST
        self._total = (y / step).pow(2).sum(1)

    def column(self, codes: Int[Tensor, "*rule"]) -> Subset:
        """Where literals hold; bits past the last position may be set."""
        flip = (codes >= len(self.facts)).to(torch.uint8) * 255
        return self.facts.packed[codes % len(self.facts)] ^ flip[..., None]

    def of(self, neurons: list[int]) -> "Search":
        """The same for some of the neurons."""
        some = copy(self)
        some.neurons, some._values, some._total = len(neurons), self._values[:, neurons], self._total[neurons]
        return some

    def where(self, terms: Iterable[Term]) -> Subset:
        """Where one of some conjunctions holds at least."""
        out = torch.zeros_like(self.all)
        for term in terms:
            holds = self.all
            for column in self.column(torch.tensor(term, dtype=torch.int64)):
                holds = holds & column
            out |= holds
        return out

    def sums(self, subsets: Subset, neuron: Int[Tensor, "rule"]) -> Sums:
        """Over subsets of positions, each for one of the neurons."""
        k, s = self.facts.products.sums(subsets, neuron, self._values)
        (k, alone_k), (s, alone_s) = ((x[:, :-1], x[:, -1:]) for x in (k.long(), s))
        return Sums(torch.cat([k, alone_k - k], 1), torch.cat([s, alone_s - s], 1), alone_k, alone_s)

    def explained(
        self, k: Int[Tensor, "rule *_"], s: Int[Tensor, "rule *_"], neuron: Int[Tensor, "rule"]
    ) -> Float[Tensor, "rule *_"]:
        """Variance explained; -1 for rules that hold or fail too seldom, or hold where the activation is low."""
        fair = (k >= LEAST) & (k <= self.n - LEAST) & (s > 0)
        k, s = k.double(), s.double()
        total = self._total[neuron].view(-1, *[1] * (k.ndim - 1)).clamp_min(1e-300)
        return torch.where(fair, s * s * self.n / (k * (self.n - k)).clamp_min(1) / total, -1.0)

    def beam(self, most: int = MOST_LITERALS, base: Subset | None = None) -> Beam:
        """The best conjunctions of up to ``most`` literals, to be joined by "or" with what holds at ``base`` [neuron,
        byte] if that is given. Half of a beam then are those that explain most together with the base, the other half
        those that explain most where it fails: the beginning of a good term may spoil the whole."""
        neurons = torch.arange(self.neurons)
        free = self.all.expand(self.neurons, -1) if base is None else self.all & ~base
        other = self.sums(self.all & ~free, neurons)
        subsets, codes = free[:, None], torch.empty(self.neurons, 1, 0, dtype=torch.int64)
        found, alive = Beam([], []), torch.ones(self.neurons, 1, dtype=torch.bool)
        for size in range(1, most + 1):
            neuron = neurons.repeat_interleave(subsets.shape[1])
            sums = self.sums(subsets.flatten(0, 1), neuron)
            if size == 1:
                n, mean = sums.alone_k, sums.alone_s.double() / sums.alone_k
            value = self.explained(sums.k + other.alone_k[neuron], sums.s + other.alone_s[neuron], neuron)
            # A literal that changes nothing is none; nor is one that leaves nothing.
            idle = (sums.k == sums.alone_k) | (sums.k == 0) | ~alive.flatten()[:, None]
            kinds = [value] if base is None else [value, self._apart(sums, n[neuron], mean[neuron])]
            literals = sums.k.shape[1]
            k, s = (x.view(self.neurons, -1) for x in (sums.k, sums.s))
            chosen = [
                _different(kind.masked_fill_(idle, -1.0).view(self.neurons, -1), k, s, literals, BEAM // len(kinds))
                for kind in kinds
            ]
            alive = torch.cat([rank > 0 for rank, _ in chosen], 1)
            place = torch.cat([which for _, which in chosen], 1)
            together = value.view(self.neurons, -1).gather(1, place).masked_fill(~alive, -1.0)
            # The best together first, whichever half it is of.
            together, order = together.sort(dim=1, descending=True, stable=True)
            place, alive = place.gather(1, order), alive.gather(1, order)
            parent, code = place // literals, place % literals
            codes = torch.cat([codes[neurons[:, None], parent], code[:, :, None]], 2)
            found.codes.append(codes)
            found.explained.append(together)
            if size == most or not alive.any():
                break
            subsets = subsets[neurons[:, None], parent] & self.column(code)
        return found

    def _apart(self, sums: Sums, n: Int[Tensor, "rule 1"], mean: Float[Tensor, "rule 1"]) -> Float[Tensor, "rule _"]:
        """What two means explain of n positions with that mean, in squared steps; -1 as `explained`."""
        k, s = sums.k.double(), sums.s - sums.k * mean
        fair = (sums.k >= LEAST) & (sums.k <= n - LEAST) & (s > 0)
        return torch.where(fair, s * s * n / (k * (n - k)).clamp_min(1), -1.0)


def _different(
    value: Float[Tensor, "neuron rule"],
    k: Int[Tensor, "neuron rule"],
    s: Int[Tensor, "neuron rule"],
    literals: int,
    n: int,
) -> tuple[Float[Tensor, "neuron n"], Int[Tensor, "neuron n"]]:
    """The best rules of each neuron that do not hold at the same positions: what they are worth, and which they are."""
    # Of those that say the same, the one whose last literal is listed first; negations last.
    order = torch.arange(literals).repeat(value.shape[1] // literals)
    best, place = (value * (1 - 1e-9 * order)).topk(min(_SHORTLIST, value.shape[1]))
    k, s = k.gather(1, place), s.gather(1, place)
    same = (k[:, :, None] == k[:, None]) & (s[:, :, None] == s[:, None])
    best, which = best.masked_fill(same.tril(-1).any(2), -1.0).topk(min(n, best.shape[1]))
    return best, place.gather(1, which)
