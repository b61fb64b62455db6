"""Near misses: positions that agree on every literal of a rule but one, beside positions where the rule holds.

A rule is a conjunction of facts (``["C0 empty", "D1 theirs", "E2 mine"]``; ``!`` negates one). Two passes over a pool
of games, in batches, in bounded memory:

    1. clean: positions where every literal holds, in order of games, until there are n
    2. corrupt: of all positions of the pool at which all but one literal hold, for each clean position and literal the
       one at the same ply, with the same side to move, whose board differs on the fewest squares

With boards as one-hot vectors over (square, state), two boards agree on as many squares as their inner product says,
so a batch's distances are one matrix product. Ties go to the lowest hash of (seed, game, ply): any batches, the same
pairs. The larger the pool, the closer the pairs. Transcripts differ nearly throughout: what a near miss isolates is the
rule's literal, not a move; `counterfactuals.counterfactuals` with ``keep`` does that with one move changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from circuits.bitboards import bits_to_bool
from circuits.causes.facts import Fact, all_hold, one_fails, parse_fact
from circuits.causes.game_streams import Batch, check_band, check_games, source, stream
from circuits.causes.pairs import Pairs, join
from circuits.causes.variations import Positions
from circuits.errors import InputError
from circuits.games import MIDDLE_BAND, Games
from circuits.notation import N_MOVES

#: positions of the pool where none is named
POOL = 1_000_000
_NONE = (1 << 63) - 1


@dataclass(frozen=True, eq=False)
class NearMisses:
    """Pairs by the literal that fails in their corrupt position.

    Attributes:
        rule: its literals, as given.
        by_literal: literal -> pairs; the clean positions are the same ones for each, but for those without a near
            miss. Literals of which the pool has no near miss are left out, and
        none: says why.

    One near miss may be the closest of several clean positions.
    """

    rule: tuple[str, ...]
    by_literal: dict[str, Pairs]
    none: dict[str, str]

    @property
    def pairs(self) -> Pairs:
        """All of them, literal by literal."""
        return join(list(self.by_literal.values()), f"{' & '.join(self.rule)}, or all but one of these")

    @property
    def literal(self) -> list[str]:
        """The literal that fails, of each of `pairs`."""
        return [name for name, pairs in self.by_literal.items() for _ in range(len(pairs))]

    def __repr__(self) -> str:
        counts = ", ".join(f"{name}: {len(pairs)}" for name, pairs in self.by_literal.items())
        return f"NearMisses({counts})"


def near_misses(
    rule: Sequence[str], n: int, *, pool: Games | int = POOL, but: str | None = None, plies: slice = MIDDLE_BAND,
    seed: int = 0, per_game: int = 1,
) -> NearMisses:  # fmt: skip
    """Clean positions of a rule, each with the closest near miss in a pool for each literal.

    Args:
        rule: the literals, all different.
        n: how many pairs for each literal at most; fewer where the pool has no more (`Pairs.source` says so).
        pool: how many positions of held-out random games to stream (`circuits.causes.game_streams`), or a set of games.
        but: the only literal that is to fail; each in turn where not given.
        plies: the positions considered; seed: of the games and the choice among equals.
        per_game: clean positions of one game at most, chosen at random.

    Raises:
        InputError: an empty or repetitive rule, an unknown literal, a bad band or number; no clean position in the
            pool; no near miss (and why).
    """
    facts = [parse_fact(text) for text in rule]
    if not facts or len(set(facts)) < len(facts):
        raise InputError(f"rule {list(rule)}: give at least one literal, each of them once")
    names = [str(fact) for fact in facts]
    wanted = names if but is None else [str(parse_fact(but))]
    if not set(wanted) <= set(names):
        raise InputError(f"{but!r} is no literal of the rule {' & '.join(names)}")
    first, last = check_band(plies)
    if n < 1 or per_game < 1:
        raise InputError(f"{n} pairs, {per_game} of a game: at least one is needed")
    if not isinstance(pool, Games):
        pool = -(-pool // (last - first + 1))
    check_games(pool, seed)
    where = f"{source(pool, seed)}, plies {first}..{last}"
    said = " & ".join(names)
    clean = _clean(facts, n, pool, plies, seed, per_game)
    closest = _Closest(clean, [names.index(name) for name in wanted])
    for batch in stream(pool, seed):
        closest.update(batch, facts, plies, seed)
    about = f"{closest.looked} positions of {where}"
    if not len(clean.tokens):
        raise InputError(f"no near misses: {said} holds at none of {about}")
    by_literal, none = {}, {}
    for name, key, tokens, met in zip(wanted, closest.key, closest.tokens, closest.met, strict=True):
        found = key != _NONE
        if not found.any():
            why = f"at the ply of a clean position and with its side to move, among {about}"
            if not met:
                rest = " & ".join(other for other in names if other != name)
                why = f"{rest or 'everything'} without {name} is at none of {about}"
            none[name] = f"no near miss of {said} in which {name} fails: {why}"
            continue
        fewer = "" if found.sum() == n else f": {int(found.sum())} pairs of the {n} asked for"
        by_literal[name] = Pairs.of(
            clean.tokens[found], tokens[found], kind="near miss", game=clean.game[found],
            question=f"{said}, or all but {name}", source=f"{about}{fewer}",
        )  # fmt: skip
    if not by_literal:
        raise InputError("; ".join(none.values()))
    return NearMisses(tuple(names), by_literal, none)


@dataclass(frozen=True, eq=False)
class _Position:
    """Positions: transcripts, plies, games, whether black moves, and boards as one-hot vectors."""

    tokens: UInt8[Tensor, "position 60"]
    ply: Int[Tensor, "position"]
    game: Int[Tensor, "position"]
    black: Bool[Tensor, "position"]
    states: Float[Tensor, "position state_square=192"]


def _at(batch: Batch, row: Int[Tensor, "position"], ply: Int[Tensor, "position"]) -> _Position:
    ends = Positions(batch, row, ply)
    bits = torch.stack([ends.ends.mine, ends.ends.theirs, ends.ends.empty], 1)
    states = rearrange(bits_to_bool(bits).float(), "position state square -> position (state square)")
    return _Position(ends.transcripts, ply, batch.ids[row], ends.ends.black_to_move, states)


def _clean(facts: list[Fact], n: int, pool: Games | int, plies: slice, seed: int, per_game: int) -> _Position:
    """The first ``n`` positions where all facts hold, in order of games; maybe none."""
    parts, count = [], 0
    for batch in stream(pool, seed):
        holds = batch.positions(plies) & all_hold(facts, batch.boards)
        order = (batch.keys(seed) >> 1).masked_fill(~holds, _NONE).argsort(1)[:, :per_game]
        row, rank = (holds.sum(1)[:, None] > torch.arange(order.shape[1])).nonzero().unbind(1)
        parts.append(_at(batch, row, order[row, rank]))
        count += len(row)
        if count >= n:
            break
    names = [field.name for field in fields(_Position)]
    return _Position(*(torch.cat([getattr(part, name) for part in parts])[:n] for name in names))


class _Closest:
    """The closest near miss met so far of each clean position, for each of the literals that are to fail.

    Attributes:
        key: [literal, clean] squares that differ, then a random number; `_NONE` before one is met.
        tokens: [literal, clean, 60] its transcript.
        met: [literal] near misses met at any ply; looked: positions looked at.
    """

    def __init__(self, clean: _Position, literals: list[int]):
        self.clean, self.literals = clean, literals
        self.key = torch.full((len(literals), len(clean.ply)), _NONE)
        self.tokens = torch.zeros(len(literals), len(clean.ply), N_MOVES, dtype=torch.uint8)
        self.met, self.looked = [0] * len(literals), 0
        group = clean.ply * 2 + clean.black
        self.groups = {int(g): (group == g).nonzero()[:, 0] for g in group.unique()}

    def update(self, batch: Batch, facts: list[Fact], plies: slice, seed: int) -> None:
        """Take in a batch of the pool."""
        where = batch.positions(plies)
        self.looked += int(where.sum())
        fails = one_fails(facts, batch.boards) & where
        keys = batch.keys(seed) >> 16 & (1 << 48) - 1
        for at, literal in enumerate(self.literals):
            self.met[at] += int(fails[literal].sum())
            # Ply by ply, then by side: what one clean position can be compared with.
            ply, row = fails[literal].t().nonzero().unbind(1)
            group = ply * 2 + batch.boards.black_to_move[row, ply]
            near = _at(batch, row, ply)
            for g, clean in self.groups.items():
                here = (group == g).nonzero()[:, 0]
                if len(here):
                    self._compare(at, clean, near.states[here], keys[row[here], ply[here]], near.tokens[here])

    def _compare(self, at: int, clean: Tensor, states: Tensor, chance: Tensor, tokens: Tensor) -> None:
        differ = 64 - einsum(self.clean.states[clean], states, "clean state, near state -> clean near")
        key, best = ((differ.long() << 48) + chance).min(1)
        closer = (key < self.key[at, clean]).nonzero()[:, 0]
        self.key[at, clean[closer]] = key[closer]
        self.tokens[at, clean[closer]] = tokens[best[closer]]
