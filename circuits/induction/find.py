"""The rule of each of some activations: found in two ways, and the better one kept.

A search (`climb`), and a tree (`trees`) whose paths are made a rule (`paths`); a tree's rule that is nearly worth the
searched one is climbed from as well; of all these the one kept is `choose`'s. Rules that were searched for are beyond
chance by what the search asks of them; a tree's must be so on the tuning games.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuits.induction import paths
from circuits.induction.beam import Search
from circuits.induction.choose import Judge
from circuits.induction.climb import climb, grow, within
from circuits.induction.facts import Facts
from circuits.induction.measure import most_f1
from circuits.induction.single_changes import Around, Terms, around
from circuits.induction.trees import Trees

#: how much less worth a tree's rule may be to be climbed from
NEARLY = 0.1


@dataclass(frozen=True, eq=False)
class Found:
    """A rule and where it comes from.

    Attributes:
        source: "conjunction" (searched) or "tree"; other: the rule of the other source, or None.
        spare: of a searched rule, that with a further term which its price kept out, or None.
        complete: whether it is searched and complete (`climb`).
        near: what is around it; judge: the neuron's.
    """

    terms: Terms
    source: str
    other: Terms | None
    spare: Terms | None
    complete: bool
    near: Around
    judge: Judge


class Finder:
    """The facts of a sample, or of part of its training games, to find rules with."""

    def __init__(self, facts: Facts, among: Bool[Tensor, "n_train"] | None = None):
        """``among``: training positions that count, whole games; all if not given."""
        self.among = among
        self.facts = facts if among is None else facts.of(among)
        self._judge = Judge(facts, None if among is None else among.numpy())
        # What threads share is made before there are any.
        self.facts.packed, self.facts.products, self._matrices, facts.words(facts.sample.train)
        self._tune = facts.words(facts.sample.tune)

    @property
    def _matrices(self) -> tuple[Tensor, Tensor]:
        """The literals at the training and at the tuning positions."""
        return tuple(self.facts.matrix(side) for side in self.facts.sample.sides[:2])

    @property
    def literals(self) -> Bool[Tensor, "n literal"]:
        """What trees are grown on."""
        return self._matrices[0]

    def __call__(
        self, train: Float[Tensor, "neuron n_train"], tune: Float[Tensor, "neuron n_tune"], trees: Trees
    ) -> list[Found | None]:
        """The rule of each activation, or None; ``trees`` are grown on `literals` and ``train``."""
        judges = [self._judge.of(y.numpy(), other.numpy()) for y, other in zip(train, tune, strict=True)]
        if self.among is not None:
            train = train[:, self.among]
        search = Search(self.facts, train)
        grown = grow(search)
        searched = _kept(search, grown.rules, judges)
        of_trees = self._of_trees(trees, train, tune)
        climbed = _climbed(search, searched, of_trees, judges)
        chosen: dict[int, tuple[Terms, str, Terms | None]] = {}
        for n, judge in enumerate(judges):
            known = [(searched[n].terms, "conjunction")] if n in searched else []
            known += [(t, "tree") for t in (climbed.get(n), of_trees[n]) if t and judge.credible(t)]
            if not known:
                continue
            best = max(known, key=lambda rule: judge.worth(rule[0]))  # of equals the searched one
            if n in grown.complete and n in searched and not judge.clearly_better(best[0], searched[n].terms):
                best = known[0]
            chosen[n] = (*best, next((terms for terms, source in known if source != best[1]), None))
        near = {n: at for n, at in searched.items() if n in chosen and at.terms == chosen[n][0]}
        near |= around(search, {n: terms for n, (terms, _, _) in chosen.items() if n not in near})
        found: list[Found | None] = [None] * len(judges)
        for n, (terms, source, other) in chosen.items():
            complete = n in grown.complete and source == "conjunction"
            found[n] = Found(terms, source, other, grown.spare.get(n), complete, near[n], judges[n])
        return found

    def _of_trees(self, trees: Trees, train: Tensor, tune: Tensor) -> list[Terms]:
        """The rule of each tree."""
        ends = [trees.leaves(matrix).numpy() for matrix in self._matrices]
        rules = []
        for n, (own, there) in enumerate(zip(*ends, strict=True)):
            tree = paths.Tree(trees.literal[n].numpy(), trees.n[n].numpy(), trees.value[n].double().numpy())
            leaves = tree.leaves(tree.depth)
            on = torch.zeros(len(tree.literal), dtype=torch.bool).numpy()
            on[leaves[paths.otsu(tree.value[leaves], tree.n[leaves])]] = True
            active = tune[n].numpy() > most_f1(train[n].numpy(), on[own])
            rules.append(paths.rule_of(tree, there, active, self._tune, len(self.facts)))
        return rules


def _kept(search: Search, found: Mapping[int, Around], judges: Sequence[Judge]) -> dict[int, Around]:
    """The rules without the literals that are within chance; without those of which nothing is left."""
    kept, look = dict(found), list(found)
    while look:
        shorter = {n: judges[n].to_drop(kept[n]) for n in look}
        kept = {n: at for n, at in kept.items() if shorter.get(n) != ()}
        look = [n for n, terms in shorter.items() if terms]
        kept |= around(search, {n: shorter[n] for n in look})
    return kept


def _climbed(
    search: Search, searched: Mapping[int, Around], of_trees: Sequence[Terms], judges: Sequence[Judge]
) -> dict[int, Terms]:
    """What single changes make of the trees' rules that are nearly worth the searched ones."""
    near = {}
    for n, terms in enumerate(of_trees):
        if terms and within(terms):
            best = judges[n].worth(searched[n].terms) if n in searched else -math.inf
            if judges[n].worth(terms) > best - NEARLY:
                near[n] = terms
    return {n: at.terms for n, at in _kept(search, climb(search, near), judges).items()}
