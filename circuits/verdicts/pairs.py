"""Counterfactual games that toggle one fact of a rule and no other: does the unit follow each fact by itself?

For a rule over atoms a_1..a_m, the clean position of a pair satisfies the rule. The corrupt one ends a legal game of as
many moves, with the same side to move, that differs in one move (`circuits.causes.variations`: the last one, or an
earlier one with every later move kept), and there

    a_i       has changed its truth,
    a_j       has not, for every j other than i, and so
    the rule  no longer holds: a_i is asked about only where the rule turns on it (in ``A | B`` on A only where not B)

Of a position's variations the one is taken whose board differs on the fewest squares. Atoms that look back (``@-k``)
are read off the varied game, replayed. *Control* pairs are variations of the same clean positions in which no atom
changes: for each toggle the one of the same kind whose board differs on the most nearly as many squares.

Positions are tried in order of games, those of one game in random order (a hash of seed, game and ply), until each atom
has enough pairs or `rule_pair_search.POSITIONS` were tried. The same games and seed give the same pairs.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuits.causes.game_streams import check_band, stream
from circuits.causes.game_streams import source as fresh_source
from circuits.causes.pairs import Pairs
from circuits.errors import InputError
from circuits.games import MIDDLE_BAND, Games, transcript_hash
from circuits.hashing import mix64
from circuits.rules.atoms import Atom
from circuits.rules.formulas import And, Not, Or, Rule, conjunction
from circuits.rules.logic import satisfiable
from circuits.verdicts.pair_search import POSITIONS, Search, same_in_both

#: added to the numbers of fresh games, which are no game of the set
_FRESH = 1 << 40
#: pairs of each literal that are looked for
PAIRS = 120
#: positions of one game that are tried, where there are games enough
TRIES = 8


@dataclass(frozen=True, eq=False)
class Toggles:
    """Pairs that toggle each atom of a rule.

    Attributes:
        rule: held in every clean position.
        pairs: by atom; the control's are under None. Without those of which there are none.
        reasons: why there are none, or fewer than asked for.
        squares: [pair], on how many squares the two boards of each pair differ.
        held: [pair], whether the atom held in the clean position (it may be one that the rule wants to fail).
        searched: games, positions where the rule holds, positions tried, legal variations of those; in words.
        excluded: atoms that no pair can toggle, whatever the games.
    """

    rule: Rule
    pairs: dict[Atom | None, Pairs]
    reasons: dict[Atom | None, str]
    squares: dict[Atom | None, Float[Tensor, "pair"]]
    held: dict[Atom, Bool[Tensor, "pair"]]
    searched: str
    excluded: frozenset[Atom] = frozenset()

    def becomes(self, atom: Atom) -> str:
        """What the atom is in the corrupt positions, in the rule's own symbols."""
        if atom in self.pairs:
            signs = set(self.held[atom].tolist())
        else:
            signs = {holds for holds in (True, False) if _can_matter(self.rule, atom, holds)}
        return " or ".join(str(~atom if holds else atom) for holds in sorted(signs, reverse=True)) or str(~atom)


def toggles(
    rule: Rule,
    games: Games,
    n: int = PAIRS,
    *,
    plies: slice = MIDDLE_BAND,
    seed: int = 0,
    per_game: int = 2,
    fresh: int = 0,
) -> Toggles:
    """At most ``n`` pairs for each atom of a rule, ``per_game`` of one game, and as many control pairs.

    Where the games do not give so many, up to ``fresh`` random games more are searched, from the seeds that held-out
    games come from. Copies of one transcript count once. Where no pair is found there is a reason, not an error.

    Raises:
        InputError: bad numbers or band.
    """
    if n < 1 or per_game < 1:
        raise InputError(f"{n} pairs, {per_game} of a game: at least one is needed")
    check_band(plies)
    games = _distinct(games)
    search = Search(rule, n, per_game, max(TRIES, -(-POSITIONS // len(games))), _excluded(rule))
    for batch in stream(games, seed):
        search.add(batch, plies, batch.keys(seed))
        if search.over:
            break
    source = f"{games.source} ({games.fingerprint})"
    if fresh and not search.over:
        source += f" and of {fresh_source(fresh, seed)}"
        for batch in stream(fresh, seed):
            search.add(replace(batch, ids=batch.ids + _FRESH), plies, batch.keys(seed))
            if search.over:
                break
    return _found(search, source)


def _found(search: Search, source: str) -> Toggles:
    """The pairs found, in order of games."""
    pairs, reasons, squares, held = {}, {}, {}, {}
    found = {name: torch.cat([part[name] for part in search.parts]) for name in search.parts[0]} if search.parts else {}
    for i, atom in enumerate(search.atoms):
        if search.found[i]:
            rows = (found["atom"] == i).nonzero()[: search.n, 0]
            rows = rows[found["game"][rows].argsort(stable=True)]
            pairs[atom] = _pairs(found, rows, "", f"{search.rule}, or not: {atom} toggled", source)
            squares[atom], held[atom] = found["squares"][rows].float(), found["held"][rows]
        if search.found[i] < search.n:
            reasons[atom] = _reason(search, i)
    rows = _control(search, found) if found else []
    if len(rows):
        pairs[None] = _pairs(found, rows, "control", f"{search.rule}: no fact toggled", source)
        squares[None] = found["control squares"][rows].float()
    else:
        reasons[None] = "no legal game that differs in one move keeps every fact of the rule"
    searched = (
        f"{search.games} games of {source}, {search.holding} positions where the rule holds, of which {search.tried} "
        f"were varied: {search.met} legal games that differ in one move"
    )
    return Toggles(search.rule, pairs, reasons, squares, held, searched, frozenset(search.excluded))


def _pairs(found: dict[str, Tensor], rows: Tensor, which: str, question: str, source: str) -> Pairs:
    corrupt, kind = (found[which or "corrupt"][rows], found[f"{which} kind".strip()][rows])
    # Not through Pairs.of, which replays them: the engine has just played them.
    return Pairs(found["clean"][rows], corrupt, found["ply"][rows], kind, found["game"][rows], question, source)


def _control(search: Search, found: dict[str, Tensor]) -> Int[Tensor, "chosen"]:
    """Control pairs of the toggles kept, in random order, as many as of one atom, so many of a game at most."""
    kept = torch.zeros_like(found["has control"])
    for i in range(len(search.atoms)):
        kept[(found["atom"] == i).nonzero()[: search.n, 0]] = True
    rows = (kept & found["has control"]).nonzero()[:, 0]
    rows = rows[mix64(found["chance"][rows]).argsort(stable=True)]
    codes = transcript_hash(found["control"][rows])
    taken, games, seen = [], {}, set()
    for row, game, code in zip(rows.tolist(), found["game"][rows].tolist(), codes.tolist(), strict=True):
        if games.get(game, 0) < search.per_game and code not in seen and len(taken) < search.n:
            taken.append(row)
            seen.add(code)
            games[game] = games.get(game, 0) + 1
    rows = torch.tensor(taken, dtype=torch.int64)
    return rows[found["game"][rows].argsort(stable=True)]


def _reason(search: Search, i: int) -> str:
    """Why an atom has no pairs, or few."""
    atom, found = search.atoms[i], int(search.found[i])
    if atom in search.excluded:
        return search.excluded[atom]
    if not search.holding:
        return f"the rule holds at none of the positions of {search.games} games"
    if not search.turning[i]:
        return f"the rule never turns on {atom} alone, at {search.holding} positions where it holds"
    among = f"among legal games that differ in one move, at {int(search.asked[i])} positions"
    if found:
        return f"{found} pairs of the {search.n} asked for {among}"
    if not search.changed[i]:
        return f"{atom} never changed {among}"
    beside = search.beside[i].clone()
    beside[i] = -1
    other = search.atoms[int(beside.argmax())]
    return f"{atom} never changed alone {among}: most often {other} changed with it"


def _excluded(rule: Rule) -> dict[Atom, str]:
    """Atoms that no pair can toggle, whatever the game, and why."""
    found = {atom: why for atom in rule.atoms if (why := same_in_both(atom))}
    parts = rule.rules if isinstance(rule, And) else (rule,)
    for part in parts:
        atom, rest = part.atoms[0] if part.atoms else None, conjunction(other for other in parts if other is not part)
        alone = atom is not None and part in (atom, ~atom)
        if alone and atom not in rest.atoms and satisfiable(rule) and not satisfiable(rest & ~part):
            found.setdefault(atom, f"the rest of the rule forces {part}: it cannot fail alone")
    return found


def _can_matter(rule: Rule, atom: Atom, holds: bool) -> bool:
    """Whether the atom's being so can be what makes the rule hold: by the signs that it has in the formula."""
    if isinstance(rule, Not):
        return _can_matter(rule.rule, atom, not holds)
    if isinstance(rule, And | Or):
        return any(_can_matter(part, atom, holds) for part in rule.rules)
    return rule == atom and holds


def _distinct(games: Games) -> Games:
    """The first of each transcript's copies."""
    _, which = transcript_hash(games.tokens).unique(return_inverse=True)
    first = torch.full((int(which.max()) + 1,), len(games)).scatter_reduce(0, which, torch.arange(len(games)), "amin")
    return games if len(first) == len(games) else games[first.sort().values]
