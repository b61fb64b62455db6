"""Every single change of a rule at once, for many neurons: what each would explain.

A rule is an "or" of terms, each an "and" of literals. Changes of a literal: dropped, exchanged for any other fact or
its negation, one added to a term or to all of them; and a term dropped. With R = others | term,

    k(others | term')  =  k(others) + k(term' & !others)            and so the sums

so one product over the positions left by the other terms gives every exchange of one literal, and one every addition.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch

from circuits.induction.beam import Search, Subset
from circuits.induction.facts import Term

#: an "or" of terms, in canonical order
Terms = tuple[Term, ...]
#: of each product the changes that are looked at
_BEST = 24


class Change(NamedTuple):
    """A rule one change away.

    Attributes:
        explained: training variance; k: positions where it holds.
        kind: "drop", "exchange", "add", "drop term", "add to all".
    """

    terms: Terms
    explained: float
    k: int
    kind: str


@dataclass(frozen=True)
class Around:
    """A rule, what it explains, where it holds, and the best changes of it, best first."""

    terms: Terms
    explained: float
    k: int
    changes: tuple[Change, ...]


class _Row(NamedTuple):
    """One product: the rule (by its place), the kind of change, the term and the literal taken from it."""

    place: int
    kind: str
    term: int
    literal: int


def size(terms: Terms) -> int:
    """Different literals."""
    return len({code for term in terms for code in term})


def canonical(terms: Terms) -> Terms:
    """Sorted, without terms that another one holds wherever they do."""
    sets = {frozenset(term) for term in terms}
    return tuple(sorted(tuple(sorted(s)) for s in sets if not any(other < s for other in sets)))


def around(search: Search, rules: Mapping[int, Terms]) -> dict[int, Around]:
    """The best single changes of some neurons' rules.

    Args:
        rules: by neuron, its row among the search's activations; each with a term at least.
    """
    if not rules:
        return {}
    rows, subsets = [], []
    for place, terms in enumerate(rules.values()):
        own, held = _rows(search, place, terms)
        rows += own
        subsets += held
    neurons = list(rules)
    neuron = torch.tensor([neurons[row.place] for row in rows])
    sums = search.sums(torch.stack(subsets), neuron)
    # Of each rule's own first row: the whole rule.
    first = {row.place: i for i, row in reversed(list(enumerate(rows)))}
    whole = torch.tensor([first[row.place] for row in rows])
    unique = torch.tensor([first[row.place] + 1 + row.term for row in rows])  # of the row's term, what no other holds
    is_whole = torch.tensor([row.kind == "add to all" for row in rows])[:, None]
    base_k = (sums.alone_k[whole] - sums.alone_k[unique]).masked_fill(is_whole, 0)
    base_s = (sums.alone_s[whole] - sums.alone_s[unique]).masked_fill(is_whole, 0)
    value = search.explained(sums.k + base_k, sums.s + base_s, neuron)
    value.masked_fill_((sums.k == sums.alone_k) | (sums.k == 0), -1.0)
    best, code = value.topk(min(_BEST, value.shape[1]))
    k = (sums.k.gather(1, code) + base_k).tolist()
    alone = search.explained(sums.alone_k + base_k, sums.alone_s + base_s, neuron)[:, 0].tolist()
    alone_k = (sums.alone_k + base_k)[:, 0].tolist()
    others = search.explained(base_k, base_s, neuron)[:, 0].tolist()
    best, code = best.tolist(), code.tolist()
    out = {}
    for n, (neuron, terms) in enumerate(rules.items()):
        i = first[n]
        end = first.get(n + 1, len(rows))
        found = []
        for j in range(i, end):
            row = rows[j]
            if row.kind == "exchange" and len(terms[row.term]) > 1:
                found.append(Change(_drop(terms, row), alone[j], alone_k[j], "drop"))
            if row.kind == "add" and len(terms) > 1:
                left = (*terms[: row.term], *terms[row.term + 1 :])
                found.append(Change(left, others[j], int(base_k[j]), "drop term"))
        for kinds in (("exchange",), ("add", "add to all")):
            some = [j for j in range(i, end) if rows[j].kind in kinds and (j > i or len(terms) > 1)]
            order = sorted(((best[j][c], -j, c) for j in some for c in range(len(best[j]))), reverse=True)
            for v, minus, c in order[:_BEST]:
                j = -minus
                if v >= 0:
                    found.append(Change(_put(terms, rows[j], code[j][c]), v, k[j][c], rows[j].kind))
        ordered = sorted(found, key=lambda change: (-change.explained, size(change.terms)))
        changes = {c.terms: c for c in reversed(ordered) if c.terms != terms}
        out[neuron] = Around(terms, alone[i], alone_k[i], tuple(changes[t] for t in reversed(changes)))
    return out


def _rows(search: Search, place: int, terms: Terms) -> tuple[list[_Row], list[Subset]]:
    """The products for one rule: the whole, each term where no other holds, and that with one literal fewer."""
    columns = [search.column(torch.tensor(term)) for term in terms]
    held = [_all(search.all, own) for own in columns]
    rows, subsets = [_Row(place, "add to all", 0, -1)], [_any(held)]
    left = [search.all & ~_any([h for i, h in enumerate(held) if i != j]) if len(held) > 1 else search.all
            for j in range(len(held))]  # fmt: skip
    for j, own in enumerate(held):
        rows.append(_Row(place, "add", j, -1))
        subsets.append(own & left[j])
    for j, term in enumerate(terms):
        for i in range(len(term)):
            rows.append(_Row(place, "exchange", j, i))
            subsets.append(_all(left[j], [c for n, c in enumerate(columns[j]) if n != i]))
    return rows, subsets


def _all(start: Subset, columns) -> Subset:
    for column in columns:
        start = start & column
    return start


def _any(held: list[Subset]) -> Subset:
    out = held[0]
    for other in held[1:]:
        out = out | other
    return out


def _drop(terms: Terms, row: _Row) -> Terms:
    term = terms[row.term]
    return canonical((*terms[: row.term], term[: row.literal] + term[row.literal + 1 :], *terms[row.term + 1 :]))


def _put(terms: Terms, row: _Row, code: int) -> Terms:
    if row.kind == "add to all":
        return canonical(tuple(tuple(sorted({*term, code})) for term in terms))
    term = terms[row.term]
    kept = term[: row.literal] + term[row.literal + 1 :] if row.kind == "exchange" else term
    return canonical((*terms[: row.term], tuple(sorted({*kept, code})), *terms[row.term + 1 :]))
