"""The search behind `circuits.causes.counterfactuals`: which positions are tried, which of their variations is taken,
and, where there is none, why.

Games are searched in order. In each, the positions where the question can be asked are tried in random order, one
first and twice as many each time none served, until enough of them have a counterfactual.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from circuits.causes.facts import Fact, all_hold, parse_fact, parse_facts
from circuits.causes.game_streams import Batch, check_band, source, stream
from circuits.causes.pairs import Pairs
from circuits.causes.variations import MADE, Positions, Variations, variations
from circuits.errors import InputError
from circuits.games import Games
from circuits.hashing import GOLDEN, mix64, signed64
from circuits.notation import N_CTX

#: positions whose variations are played at once: some hundred thousand variations, 100 MB
POSITIONS = 2048
#: a search that has met so many legal variations and not one counterfactual is given up
GIVE_UP = 3_000_000
_HIGHEST = (1 << 63) - 1


class Search:
    """One question, asked of positions; counts what it met.

    Attributes:
        facts: hold in the clean position and none of them in the corrupt one; without any, anything may differ.
        keep: hold in both.
        kinds: of changes, some of `variations.MADE`; same_last_move, changed: as there.
        games, positions, holding, met: games and positions searched, positions where the clean facts hold, and
            legal variations of those.
    """

    def __init__(
        self, fact: str | None, keep: Sequence[str], kinds: Sequence[str], *, same_last_move: bool = True,
        changed: slice = slice(None),
    ):  # fmt: skip
        for kind in kinds:
            if kind not in MADE:
                hint = " (circuits.causes.near_misses finds those)" if kind == "near miss" else ""
                raise InputError(f"{kind!r} is no kind of change{hint}: {', '.join(MADE)}")
        if not kinds:
            raise InputError(f"no kind of change: give some of {', '.join(MADE)}")
        facts, keep = parse_facts(fact), tuple(map(parse_fact, [keep] if isinstance(keep, str) else keep))
        for one in keep:
            if one in facts or ~one in facts:
                raise InputError(f"{one} is to be kept in both and to differ between them: it cannot do both")
        self.last_changed = check_band(changed)[1]
        stays = MADE[0] not in kinds and (same_last_move or MADE[2] not in kinds)
        for one in facts:
            if one.name == "played" and stays:
                raise InputError(f"{one} cannot differ where the last move is the same: ask for {MADE[0]!r}")
        self.kinds, self.same_last_move, self.changed = tuple(kinds), same_last_move, changed
        self.facts, self.keep = facts, keep
        self.games = self.positions = self.holding = self.met = 0

    @property
    def clean(self) -> tuple[Fact, ...]:
        """What holds in a clean position."""
        return (*self.keep, *self.facts)

    @property
    def corrupt(self) -> tuple[Fact, ...]:
        """What holds in a corrupt one."""
        return (*self.keep, *(~fact for fact in self.facts))

    @property
    def question(self) -> str:
        """What the pairs are to tell apart."""
        if self.facts:
            asked = f"{_and(self.facts)} or {'not' if len(self.facts) == 1 else 'none of them'}"
        elif self.kinds == MADE[2:]:
            asked = "the order of moves to one board"
        else:
            asked = "what one change of moves does"
        return asked + (f", where {_and(self.keep)}" if self.keep else "")

    def run(self, games: Games | int, n: int, plies: slice, seed: int, per_game: int) -> Pairs:
        """At most ``n`` pairs, in order of games; raises as `counterfactuals.counterfactuals`."""
        first, last = check_band(plies)
        if n < 1 or per_game < 1:
            raise InputError(f"{n} pairs, {per_game} of a game: at least one is needed")
        parts, count = [], 0
        for batch in stream(games, seed):
            where = batch.positions(plies)
            holds = where & all_hold(self.clean, batch.boards)
            self.games += len(batch.ids)
            self.positions += int(where.sum())
            self.holding += int(holds.sum())
            parts.append(self._of_games(batch, holds, batch.keys(seed), per_game))
            count += len(parts[-1][0])
            if count >= n or (not count and self.met >= GIVE_UP):
                break
        where = f"{source(games, seed)}, plies {first}..{last}"
        if not count:
            raise InputError(f"{where}: {self.why_none()}")
        clean, corrupt, kind, game = (torch.cat(column)[:n] for column in zip(*parts, strict=True))
        fewer = f": {count} pairs of the {n} asked for" if count < n else ""
        origin = f"{where}, from the first {self.games} games{fewer}"
        return replace(Pairs.of(clean, corrupt, game=game, question=self.question, source=origin), kind=kind)

    def variations(self, positions: Positions) -> Variations:
        """The variations of positions at whose end holds what holds in a corrupt position."""
        found = variations(positions, self.kinds, same_last_move=self.same_last_move, changed=self.changed)
        self.met += len(found)
        return found[all_hold(self.corrupt, found.end).nonzero()[:, 0]] if len(found) else found

    def why_none(self) -> str:
        """Why no counterfactual was found, in one line."""
        none = f"no counterfactual for {self.question!r}"
        if self.games and not self.positions:
            return f"{none}: the {self.games} games searched have no position there"
        if self.games and not self.holding:
            return f"{none}: {_and(self.clean)} holds at none of the {self.positions} positions of {self.games} games"
        at = "this position"
        if self.games:
            at = f"{self.holding} positions of {self.games} games" + (
                f" where {_and(self.clean)}" if self.clean else ""
            )
        kinds = " or ".join(map(repr, self.kinds))
        if not self.met:
            band = "" if self.changed == slice(None) else f", at plies {self.changed.start or 0}..{self.last_changed},"
            return f"{none}: no {kinds}{band} leaves the game legal with the same side to move ({at})"
        after = _and(self.corrupt)
        return f"{none}: of {self.met} legal games with {kinds} none leads to {after} ({at})"

    def _of_games(
        self, batch: Batch, holds: Bool[Tensor, "game 59"], keys: Int[Tensor, "game 59"], per_game: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Clean and corrupt transcripts, kinds and games of the counterfactuals found in a batch, by game."""
        order = (keys >> 1).masked_fill(~holds, _HIGHEST).argsort(1)
        counts, missing = holds.sum(1), torch.full((len(holds),), per_game)
        tried, width, parts = 0, per_game, []
        while len(rows := ((missing > 0) & (counts > tried)).nonzero()[:, 0]):
            ranks = torch.arange(tried, min(tried + width, N_CTX))
            these = ranks < counts[rows, None]
            row = rows[:, None].expand_as(these)[these]
            positions = Positions(batch, row, order[rows][:, ranks][these])
            for part in (positions[i : i + POSITIONS] for i in range(0, len(positions), POSITIONS)):
                found = self._closest(part, keys)
                of = part.row[found.position]
                kept = torch.arange(len(of)) - torch.searchsorted(of, of) < missing[of]  # the first ones of a game
                found, of = found[kept], of[kept]
                missing -= torch.bincount(of, minlength=len(missing))
                parts.append((of, part.transcripts[found.position], part.varied(found), found.kind))
            tried, width = tried + width, 2 * width
        if not parts:
            nothing = batch.tokens[:0]
            return nothing, nothing, torch.zeros(0, dtype=torch.uint8), batch.ids[:0]
        of, clean, corrupt, kind = (torch.cat(column) for column in zip(*parts, strict=True))
        by_game = of.argsort(stable=True)
        return clean[by_game], corrupt[by_game], kind[by_game], batch.ids[of[by_game]]

    def _closest(self, positions: Positions, keys: Int[Tensor, "game 59"]) -> Variations:
        """The counterfactual of each position that differs least, in order of the positions that have one."""
        found = self.variations(positions)
        change = (found.first * 64 + found.square) * 64 + found.second + 1
        chance = mix64(keys[positions.row, positions.ply][found.position] + change * signed64(GOLDEN))
        cost = (found.squares * 64 + found.turned) << 48 | chance >> 16 & (1 << 48) - 1
        order = cost.argsort(stable=True)
        order = order[found.position[order].argsort(stable=True)]
        sorted_ = found.position[order]
        best = torch.ones_like(sorted_, dtype=torch.bool)
        best[1:] = sorted_[1:] != sorted_[:-1]
        return found[order[best]]


def _and(facts: Sequence[Fact]) -> str:
    return " & ".join(map(str, facts))
