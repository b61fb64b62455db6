"""Causes on the output side: what is lost without a subject, where its rule holds, where it fails, and elsewhere.

The subject is set to its training mean where the rule fails, at the position that is read and nowhere earlier; all that
comes after is recomputed, LayerNorms included. Then

    loss       an effect before less after, in the sense claimed (`circuits.verdicts.writes`): for the square named, for
    all
               others, and for random other units' writing, scaled at each position to the norm that ablating the
               subject displaces (`circuits.verdicts.controls`)
    rank       of the size of the mean loss among all squares: others that rise count too
    difference loss where the rule holds less loss where it fails
    direct     what the subject's writing, above that at its mean where the rule fails, adds to the effect by itself
    weight     what one unit of activation writes for it, and its rank among all squares
    KL         of the model's move probabilities to those without the subject
    replaced   the subject made to say only whether the rule holds (`circuits.verdicts.replacement`)

Intervals are over games. A p is (1 + controls that lose as much) / (1 + controls).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuits.behaviour import legal_tokens
from circuits.causes.ablation import relative
from circuits.causes.effects import Summary, summarise
from circuits.errors import InputError
from circuits.game_intervals import gap_interval
from circuits.last_ply import Edit
from circuits.notation import LABELS, PLAYABLE
from circuits.rules import Claim
from circuits.verdicts.controls import Control, controls, displaced, side_by_side
from circuits.verdicts.places import Places
from circuits.verdicts.readings import Ground, Readings
from circuits.verdicts.records import Estimate, Outputs, Replacement, Write
from circuits.verdicts.replacement import GAMES, KINDS, Levels, divergence, replaced_runs, worse
from circuits.verdicts.subjects import Subject
from circuits.verdicts.writes import Target, target


def outputs(ground: Ground, subject: Subject, claim: Claim, places: Places, train: Readings) -> Outputs:
    """What is lost without a subject.

    Args:
        subject: `fitted`; places: `rule_places.draw`; train: its values at training positions.

    Raises:
        InputError: the rule never, or always, holds on the training games; it holds at none of the places.
    """
    holds = train.packed.holds(claim.rule)
    if not holds.any() or holds.all() or not places.holds.any():
        raise InputError(
            f"{claim.rule}: nothing to ablate: it holds at {int(holds.sum()):,} of {len(holds):,} training positions "
            f"and at {int(places.holds.sum())} of the {len(places)} places drawn"
        )
    levels = Levels.learn(train, holds)
    targets: list[Target | InputError] = []
    for effect in claim.effects:
        try:
            targets.append(target(subject, effect, ground.readers))
        except InputError as error:
            targets.append(error)
    others = controls(ground, subject, claim.rule, train)
    trial = _Ablation(ground, subject, places, levels, [t for t in targets if isinstance(t, Target)], others)
    there, elsewhere = trial.where(True), trial.where(False)
    writes = iter(trial.writes(there, elsewhere, claim))
    found = []
    for effect, given in zip(claim.effects, targets, strict=True):
        found.append(next(writes) if isinstance(given, Target) else _unmeasured(str(effect), str(given)))
    kl, fails = (None if part is None else _estimate(part.summary(part.kl[0]), 0) for part in (there, elsewhere))
    random_kl = tuple(there.kl[KL_CONTROLS:].mean(1).tolist())
    own_kl = float(there.kl[0].mean())
    return Outputs(
        writes=tuple(found),
        positions=len(places),
        games=places.n_games,
        kl=kl,
        kl_fails=fails,
        random_kl=random_kl,
        p_kl=_p(own_kl, random_kl),
        replacements=trial.replacements(there, claim),
        largest=trial.largest(there),
        words=trial.words(others),
    )


#: variants of a place: unchanged, ablated, the kinds of replacement, controls
FIRST_CONTROL = 2 + len(KINDS)
KL_CONTROLS = FIRST_CONTROL - 1


class _Measured:
    """Figures at the places of one kind.

    Attributes:
        group: [place]; kl: [variant but the first, place]; error: [kind, place], of replacements.
        losses: by target, of what it names, [variant but the first, place]; all: [place, n], of everything, ablated.
        along: by target, the mean loss of what it names at each point.
        direct: by target, [place]; moves: [move], mean change of logits, ablated; weights: by target [n].
    """

    def __init__(self, group: Int[Tensor, "place"]):
        self.group = group
        self.kl = self.error = self.moves = torch.empty(0)
        self.losses: list[Tensor] = []
        self.all: list[Tensor] = []
        self.direct: list[Tensor] = []
        self.weights: list[Tensor] = []
        self.along: list[dict[str, float]] = []

    def summary(self, values: Float[Tensor, "*figure place"]) -> Summary:
        return summarise(values if values.ndim > 1 else values[None], self.group, flips=1)


class _Ablation:
    def __init__(
        self,
        ground: Ground,
        subject: Subject,
        places: Places,
        levels: Levels,
        targets: list[Target],
        others: tuple[Control, ...],
    ):
        self.ground, self.subject, self.places, self.levels = ground, subject, places, levels
        self.targets, self.others = targets, others
        self.legal = legal_tokens(places.boards.legal)
        generator = torch.Generator().manual_seed(ground.seed)
        # [kind, place, k]; the first stands for the ablation itself
        self.new = torch.stack([levels.off.expand(len(places), -1), *levels.of(places.holds, generator)])

    def where(self, holds: bool) -> _Measured | None:
        """Everything measured at the places where the rule holds, or fails; None where there are none."""
        if not (self.places.holds == holds).any():
            return None
        others = self.others if holds else ()
        saves = tuple(dict.fromkeys(hook for t in self.targets for hook in t.saves))
        kept, parts = [], []

        def edits(rows: Int[Tensor, "row"]) -> list[Edit]:
            norms = displaced(self.subject, (self.levels.off - self.places.values[rows])[:, None])
            own = [self.subject.edits(self.new[i][rows][:, None]) for i in range(FIRST_CONTROL - 1 if holds else 1)]
            return side_by_side([[], *own, *(control.edits(norms) for control in others)])

        for rows, logits, acts in self.places.run(holds, edits, saves, start_at=self.subject.first_layer):
            kept.append(rows)
            parts.append(self._figures(rows, logits, acts))
        measured = _Measured(self.places.group[torch.cat(kept)])
        for name in ("kl", "error"):
            setattr(measured, name, torch.cat([part[name] for part in parts], 1))
        measured.moves = torch.cat([part["moves"] for part in parts]).mean(0)
        weight = torch.tensor([len(rows) for rows in kept]) / sum(map(len, kept))
        for i in range(len(self.targets)):
            measured.losses.append(torch.cat([part["losses"][i] for part in parts], 1))
            measured.all.append(torch.cat([part["all"][i] for part in parts]))
            measured.direct.append(torch.cat([part["direct"][i] for part in parts]))
            points = parts[0]["along"][i]
            measured.along.append(
                {hook: float(torch.cat([part["along"][i][hook] for part in parts]).mean()) for hook in points}
            )
            measured.weights.append(torch.stack([part["weights"][i] for part in parts], -1) @ weight)
        return measured

    def _figures(self, rows: Tensor, logits: Tensor, acts: dict[str, Tensor]) -> dict:
        legal = self.legal[rows].to(logits.device)
        unchanged = {hook: x[:, 0] for hook, x in acts.items()}
        written = self.subject.written((self.places.values[rows] - self.levels.off).to(logits))
        axis = self.subject.written(self._unit().to(logits))
        replaced = logits[:, 2:FIRST_CONTROL].unbind(1)
        errors = [worse(logits[:, 0], after, legal) for after in replaced]
        found = {"kl": divergence(logits[:, :1], logits[:, 1:]).T.cpu()}
        found["error"] = torch.stack(errors).cpu() if errors else torch.empty(0, len(rows))
        found["moves"] = relative(logits[:, 1] - logits[:, 0]).cpu()
        found |= {"losses": [], "all": [], "direct": [], "weights": [], "along": []}
        two = {hook: x[:, :2] for hook, x in acts.items()}
        for t in self.targets:
            values = t.measure(logits, acts)
            found["losses"].append((values[:, :1, t.own] - values[:, 1:, t.own]).T.cpu())
            found["all"].append((values[:, 0] - values[:, 1]).cpu())
            found["direct"].append(t.direct(written, unchanged).cpu())
            found["weights"].append(t.weights(axis, unchanged).cpu())
            found["along"].append({hook: (x[:, 0] - x[:, 1]).cpu() for hook, x in t.along(two).items()})
        return found

    def _unit(self) -> Float[Tensor, "k"]:
        """One unit of the scalar: of a set, one of each of its neurons on average."""
        weights = self.subject.weights
        return weights.sign() / len(weights) if self.subject.kind == "set" else weights

    def writes(self, there: _Measured, elsewhere: _Measured | None, claim: Claim) -> list[Write]:
        found = []
        for i, t in enumerate(self.targets):
            claimed = {k for other in self.targets if (k := t.number_of(other.effect)) is not None}
            free = torch.tensor([k not in claimed for k in range(len(t.names))])
            lost, weights = there.all[i].mean(0), there.weights[i]
            s = there.summary(torch.stack([there.losses[i][0], there.direct[i], there.all[i][:, free].abs().mean(1)]))
            total_fails = direct_fails = difference = None
            if elsewhere is not None:
                other = elsewhere.summary(torch.stack([elsewhere.losses[i][0], elsewhere.direct[i]]))
                total_fails, direct_fails = _estimate(other, 0), _estimate(other, 1)
                difference = _difference((there.losses[i][0], there.group), (elsewhere.losses[i][0], elsewhere.group))
            random = tuple(there.losses[i][KL_CONTROLS:].mean(1).tolist())
            found.append(
                Write(
                    effect=str(t.effect),
                    point=t.point,
                    unit_of=t.unit,
                    weight=float(weights[t.own]),
                    weight_rank=1 + int((weights[free] > weights[t.own]).sum()),
                    weight_of=int(free.sum()) + 1,
                    direct=_estimate(s, 1),
                    direct_fails=direct_fails,
                    total=_estimate(s, 0),
                    total_fails=total_fails,
                    others=_estimate(s, 2),
                    rank=1 + int((lost[free].abs() > lost[t.own].abs()).sum()),
                    of=int(free.sum()) + 1,
                    random=random,
                    p=_p(float(lost[t.own]), random),
                    by_point=there.along[i],
                    difference=difference,
                )
            )
        return found

    def replacements(self, there: _Measured, claim: Claim) -> tuple[Replacement, ...]:
        whole, group = replaced_runs(self.ground, self.subject, claim.rule, self.levels)
        everywhere = summarise(whole, group, flips=1)
        own = slice(1, 1 + len(KINDS))
        held = there.summary(torch.stack([there.kl[own], there.error], 1))
        return tuple(
            Replacement(kind, where, *(_estimate(s, (i, figure)) for figure in (0, 1)))
            for where, s in (("where the rule holds", held), ("all positions", everywhere))
            for i, kind in enumerate(KINDS)
        )

    def largest(self, there: _Measured) -> str:
        """The move whose logit changes most."""
        move = int(there.moves.abs().argmax())
        change = float(there.moves[move])
        return (
            f"{LABELS[PLAYABLE[move]]}’s logit: {change:+.2f} without it where the rule holds, the most of the 60 moves"
        )

    def words(self, others: tuple[Control, ...]) -> tuple[str, ...]:
        places, ground = self.places, self.ground
        holds, n = int(places.holds.sum()), len(places)
        directions, where = "directions", f"added to the stream where it writes, at {self.subject.writes}"
        compared, control = {
            "direction": (directions, where),
            "head": (directions, where),
            "neuron": ("units’ writing", "neurons of its layer, each moved towards its mean where the rule fails"),
            "set": ("sets’ writing", "as many neurons of each layer, moved towards their means where the rule fails"),
        }[self.subject.kind]
        return (
            f"{self.subject.name} is set to its mean over training positions where the rule fails, at the position "
            "that is read and nowhere earlier; all that comes after is recomputed, LayerNorms included",
            f"{holds} held-out positions where the rule holds and {n - holds} of the same games where it fails, "
            f"{places.matched} of these at the ply of one where it holds; {places.n_games} games, seed {ground.seed}",
            f"compared with {len(others)} random {compared}, scaled at each position to the norm that ablating "
            f"{self.subject.name} displaces: {control}",
            "direct effects: what its writing above that mean adds by itself, LayerNorms frozen at their scales",
            *dict.fromkeys(_said(t) for t in self.targets),
            f"replaced at every ply of {min(GAMES, len(ground.held_out))} whole held-out games, and at the position "
            f"read alone where the rule holds; dealt at random: on at {self.levels.rate:.2%} of positions, as often as "
            "the rule holds",
        )


def _estimate(s: Summary, i) -> Estimate:
    low, high = float(s.low[i]), float(s.high[i])
    known = low == low and high == high
    return Estimate(float(s.mean[i]), low if known else None, high if known else None)


def _difference(holds: tuple[Tensor, Tensor], fails: tuple[Tensor, Tensor]) -> Estimate:
    """Mean of the one less mean of the other, each (values, group) by place; groups are drawn with both their parts."""
    games, group = torch.cat([holds[1], fails[1]]).unique(return_inverse=True)
    parts = []
    for (values, _), own in zip((holds, fails), group.split([len(holds[1]), len(fails[1])]), strict=True):
        counts = torch.bincount(own, minlength=len(games)).double()
        parts += [torch.zeros_like(counts).index_add_(0, own, values.double()), counts]
    value, low, high = gap_interval(*parts).tolist()
    known = low == low and high == high
    return Estimate(value, low if known else None, high if known else None)


def _p(own: float, random: tuple[float, ...]) -> float | None:
    return (1 + sum(x >= own for x in random)) / (1 + len(random)) if random else None


def _said(t: Target) -> str:
    return f"{t.effect}: {t.unit} at {t.point}"


def _unmeasured(effect: str, reason: str) -> Write:
    return Write(effect, "", "", *[None] * 10, random=(), p=None, reason=reason)
