"""The search behind `circuits.verdicts.pairs`: variations of positions where a rule holds, and which facts each
changes.

All legal variations of a position are played at once (`circuits.causes.variations`), and every atom of the rule is read
off the positions they end in. What toggles one atom alone, where the rule turns on it, is a candidate; of each position
and atom the closest is taken, and with it, of the variations that change no atom, the one most like it.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from circuits.causes.game_streams import Batch
from circuits.causes.variations import MADE, Positions, Variations, variations
from circuits.hashing import GOLDEN, mix64, signed64
from circuits.notation import N_CTX
from circuits.othello import replay
from circuits.rules.atoms import Atom, Count, ToMove
from circuits.rules.formulas import And, Constant, Not, Rule

#: positions tried at most, and with rules that look back, whose variations are replayed from the start
POSITIONS, POSITIONS_BACK = 6000, 1500
#: an atom that never changed alone in variations of so many positions is given up
HOPELESS = 1500
#: positions whose variations are played at once
_AT_ONCE = 512
_HIGHEST = (1 << 63) - 1


def value(rule: Rule, truth: Mapping[Atom, Bool[Tensor, "*batch"]]) -> Bool[Tensor, "*batch"]:
    """A formula's value from the truth of its atoms."""
    if isinstance(rule, Atom):
        return truth[rule]
    if isinstance(rule, Not):
        return ~value(rule.rule, truth)
    if isinstance(rule, Constant):
        some = next(iter(truth.values()))
        return torch.full_like(some, rule.value)
    parts = torch.stack([value(part, truth) for part in rule.rules])
    return parts.all(0) if isinstance(rule, And) else parts.any(0)


class Search:
    """Pairs as they are found, batch by batch; counts what was met, for the reasons.

    Args:
        n, per_game: pairs wanted of each atom, on the whole and of one game at most.
        tries: positions tried of one game at most.
        excluded: atoms of which none are looked for, and why.
    """

    def __init__(self, rule: Rule, n: int, per_game: int, tries: int, excluded: Mapping[Atom, str]):
        self.rule, self.n, self.per_game, self.tries = rule, n, per_game, tries
        self.atoms, self.excluded = rule.atoms, excluded
        m = len(self.atoms)
        self.out = torch.tensor([atom in excluded for atom in self.atoms], dtype=torch.bool)
        self.most = POSITIONS_BACK if any(atom.back for atom in self.atoms) else POSITIONS
        self.found = torch.zeros(m, dtype=torch.int64)  # pairs
        self.hopeless = torch.zeros(m, dtype=torch.bool)
        self.games = self.holding = self.tried = self.met = 0
        self.turning = torch.zeros(m, dtype=torch.int64)  # positions where the rule turns on the atom
        self.asked = torch.zeros(m, dtype=torch.int64)  # of those, tried
        self.changed = torch.zeros(m, dtype=torch.int64)  # variations of those in which the atom changed
        self.beside = torch.zeros(m, m, dtype=torch.int64)  # and with it this other one
        self.parts: list[dict[str, Tensor]] = []

    @property
    def wanted(self) -> Bool[Tensor, "atom"]:
        return (self.found < self.n) & ~self.out & ~self.hopeless

    @property
    def over(self) -> bool:
        return not self.wanted.any() or self.tried >= self.most

    def add(self, batch: Batch, plies: slice, keys: Int[Tensor, "game 59"]) -> None:
        """Search a batch of games."""
        boards, inside = batch.boards, batch.positions(plies)
        self.games += len(batch.ids)
        truth = {atom: atom._holds(boards) for atom in self.atoms}
        if not truth:
            return
        holds = value(self.rule, truth) & inside
        turns = torch.stack([holds & ~value(self.rule, truth | {atom: ~truth[atom]}) for atom in self.atoms])
        self.holding += int(holds.sum())
        self.turning += turns.sum((1, 2))
        order = (keys >> 1).masked_fill(~holds, _HIGHEST).argsort(1)
        missing = torch.full((len(self.atoms), len(holds)), self.per_game)
        rank, width = 0, self.per_game
        while rank < min(self.tries, N_CTX):
            plies_tried = order[:, rank : rank + width]
            row = torch.arange(len(holds))[:, None].expand_as(plies_tried)
            # Where an atom that still lacks pairs, of this game and on the whole, turns the rule.
            useful = turns & (missing > 0)[..., None] & self.wanted[:, None, None]
            chosen = useful.any(0)[row, plies_tried]
            if not useful.any(0).gather(1, order[:, rank:]).any():
                break
            positions = Positions(batch, row[chosen], plies_tried[chosen])
            for i in range(0, len(positions), _AT_ONCE):
                if not self.over:
                    self._try(positions[i : i + _AT_ONCE], keys, truth, turns, missing)
            rank, width = rank + width, 2 * width

    def _try(self, positions: Positions, keys: Tensor, truth: dict, turns: Tensor, missing: Tensor) -> None:
        """Vary some positions; take what toggles one atom."""
        found = variations(positions, MADE[:2])
        self.tried, self.met = self.tried + len(positions), self.met + len(found)
        turn = turns[:, positions.row, positions.ply]
        self.asked += turn.sum(1)
        if not len(found):
            return
        differs = self._differs(positions, found, truth)
        here = turn[:, found.position]
        self.changed += (differs & here).sum(1)
        self.beside += ((differs & here).float() @ differs.float().T).long()
        count = differs.sum(0)
        change = (found.first * 64 + found.square) * 64 + found.second + 1
        key = keys[positions.row, positions.ply][found.position] + change * signed64(GOLDEN)
        chance = mix64(key) >> 16 & (1 << 48) - 1
        cost = (found.squares * 64 + found.turned) << 48 | chance
        same = (count == 0).nonzero()[:, 0]
        for i, one in enumerate((differs & here & (count == 1)).unbind(0)):
            index = _best(found.position, cost, one.nonzero()[:, 0], len(positions))
            row = positions.row[found.position[index]]
            # The first of a game, as many as are missing; positions come in order of games, then of their random rank.
            index = index[torch.arange(len(row)) - torch.searchsorted(row, row) < missing[i, row]]
            row = positions.row[found.position[index]]
            missing[i] -= torch.bincount(row, minlength=missing.shape[1])
            self.found[i] += len(index)
            control = _alike(found, index, same, chance)
            of, likewise = found.position[index], found[control.clamp_min(0)]
            self.parts.append(
                {
                    "atom": torch.full_like(row, i), "game": positions.batch.ids[row], "ply": positions.ply[of],
                    "held": truth[self.atoms[i]][row, positions.ply[of]], "chance": chance[index],
                    "clean": positions.transcripts[of], "corrupt": positions.varied(found[index]),
                    "kind": found.kind[index], "squares": found.squares[index], "has control": control >= 0,
                    "control": positions.varied(likewise), "control kind": likewise.kind,
                    "control squares": likewise.squares,
                }
            )  # fmt: skip
        self.hopeless |= (self.asked >= HOPELESS) & (self.found == 0)

    def _differs(self, positions: Positions, found: Variations, truth: dict) -> Bool[Tensor, "atom variation"]:
        """Which atoms are not what they are in the clean position; look-backs only where it can matter."""
        row, ply = positions.row[found.position], positions.ply[found.position]
        clean = {atom: truth[atom][row, ply] for atom in self.atoms}
        differs = torch.zeros(len(self.atoms), len(found), dtype=torch.bool)
        for i, atom in enumerate(self.atoms):
            if not atom.back and not same_in_both(atom):
                differs[i] = atom.at(found.end, found.end.black_to_move) != clean[atom]
        back = [(i, atom) for i, atom in enumerate(self.atoms) if atom.back and not same_in_both(atom)]
        if not back:
            return differs
        nearest = min(atom.back for _, atom in back)
        # More than one change makes no pair, whatever the look-backs are.
        open_ = ((differs.sum(0) <= 1) & (found.first <= ply - nearest)).nonzero()[:, 0]
        boards = replay(positions.varied(found[open_])[:, :N_CTX])
        at, ply = torch.arange(len(open_)), ply[open_]
        for i, atom in back:
            then = ply - atom.back
            now = atom.at(boards[at, then.clamp_min(0)], found.end.black_to_move[open_]) & (then >= 0)
            differs[i, open_] = now != clean[atom][open_]
        return differs


def same_in_both(atom: Atom) -> str:
    """Why the two games of any pair agree on an atom; "" where they need not."""
    if isinstance(atom, Count) and atom.what == "ply":
        return "the two games of a pair have as many moves, so the ply is the same"
    if isinstance(atom, ToMove) and not atom.back:
        return "in the two games of a pair the same side moves next, so that mine and theirs stay what they are"
    return ""


def _best(position: Tensor, cost: Tensor, among: Int[Tensor, "some"], count: int) -> Int[Tensor, "chosen"]:
    """Of each position the one of least cost, by index, in order of positions."""
    least = torch.full((count,), _HIGHEST).scatter_reduce(0, position[among], cost[among], "amin")
    best = among[cost[among] == least[position[among]]]
    of = position[best]
    return best[torch.arange(len(of)) == torch.searchsorted(of, of)]


def _alike(found: Variations, index: Tensor, same: Tensor, chance: Tensor) -> Int[Tensor, "chosen"]:
    """For each variation of ``index`` the one of ``same`` of its position most like it, -1 where there is none."""
    control = torch.full_like(index, -1)
    of = found.position[same]
    start, end = (torch.searchsorted(of, found.position[index], right=right) for right in (False, True))
    which = torch.arange(len(index)).repeat_interleave(end - start)
    if not len(which):
        return control
    offset = torch.arange(len(which)) - (torch.cumsum(end - start, 0) - (end - start))[which]
    candidate = same[start[which] + offset]
    far = (found.squares[candidate] - found.squares[index][which]).abs()
    far = far + 64 * (found.kind[candidate] != found.kind[index][which])
    best = _best(which, far << 48 | chance[candidate], torch.arange(len(which)), len(index))
    control[which[best]] = candidate[best]
    return control
