"""A rule and a unit: does the rule fit, beat its rivals, and say what drives the unit and what the unit drives?

    1  language    can the rule be true, and false; how often is it                     (`circuits.rules.logic`)
    2  fit         precision, recall, AUC, variance explained on held-out games        (`rule_fit`)
    3  rivals      random rules, its parts and neighbours, its images, the best found  (`rule_rivals`, `rule_search`)
    4  inputs      counterfactual games, edits of the checkpoint, upstream units       (`rule_pairs`, `rule_inputs`)
    5  outputs     ablation, what the claim says is written, the rule in its place     (`rule_outputs`)
    6  grade       thresholds on these numbers                                         (`verdict_grades`)

Whatever is learnt (threshold, levels, a head's direction, the best rule) is learnt on training games; every score is of
held-out ones, as many as it takes for the rule to hold `WANTED` times, as far as there are games.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from circuits.notation import Unit
from circuits.rules import Claim, Rule, as_claim
from circuits.rules import logic as rule_logic
from circuits.rules.bits import Packed
from circuits.rules.text import parse_rule
from circuits.verdicts import checks as verdict_checks
from circuits.verdicts import grades as verdict_grades
from circuits.verdicts.colours import colours
from circuits.verdicts.fit import fit, unfit
from circuits.verdicts.inputs import inputs
from circuits.verdicts.outputs import outputs
from circuits.verdicts.places import draw
from circuits.verdicts.readings import Ground, Readings, enough_games, read
from circuits.verdicts.records import Check, Fit, Rivals, Verdict
from circuits.verdicts.rivals import rivals
from circuits.verdicts.scores import learn, scored
from circuits.verdicts.search import best_rule
from circuits.verdicts.subjects import Subject, subject
from circuits.verdicts.words import summary
from circuits.verdicts.writes import target

#: held-out positions at which the rule is to hold, if the games go so far, and the fewest games read
WANTED, LEAST_GAMES = 400, 250


def test(ground: Ground, unit: str | Unit | Sequence[str | Unit] | Subject, rule: str | Rule | Claim) -> Verdict:
    """Test a rule on a unit.

    Args:
        unit: a neuron, a head, several neurons, a direction (see `circuits.verdicts.subjects.subject`).
        rule: as text or as a rule, with what the unit writes or without.

    Raises:
        InputError: no such unit, an unreadable rule, an effect on a unit that does not come after.
    """
    claim = as_claim(rule)
    tested = unit if isinstance(unit, Subject) else subject(ground.model, unit, ground.readers)
    for effect in claim.effects:
        if effect.kind == "unit":  # a name that is none, or comes before, is refused before anything is run
            target(tested, effect, ground.readers)
    return _Trial(ground, tested, claim).verdict()


class _Trial:
    """One test, step by step."""

    def __init__(self, ground: Ground, tested: Subject, claim: Claim):
        self.ground, self.subject, self.claim, self.rule = ground, tested, claim, claim.rule
        self.seconds: dict[str, float] = {}
        self.notes: list[str] = []

    def verdict(self) -> Verdict:
        rule, ground = self.rule, self.ground
        for why in (rule_logic.why_never(rule), rule_logic.why_always(rule)):
            if why:
                return self._untestable(f"{why} (it holds at {self._base_rate()})")
        with self._timed("readings"):
            train = read(ground.model, self.subject, ground.train, ground.band, sample=ground.sample)
            games = enough_games(rule, ground.held_out, ground.band, WANTED, LEAST_GAMES)
            held_out = read(ground.model, self.subject, games, ground.band, sample=ground.sample)
        for reason in (held_out.constant(self.subject), unfit(rule, train, held_out)):
            if reason:
                return self._untestable(f"{reason}, at plies {ground.band.start} to {ground.band.stop - 1}")
        self.subject = self.subject.fitted(train.values, train.packed.holds(rule))
        with self._timed("fit"):
            fitted, reason = fit(self.subject, rule, train, held_out, seed=ground.seed)
        if fitted is None:
            return self._untestable(reason)
        return self._tried(fitted, train, held_out)

    def _tried(self, fitted: Fit, train: Readings, held_out: Readings) -> Verdict:
        ground, rule = self.ground, self.rule
        with self._timed("rivals"):
            found = best_rule(self.subject, train)
            beaten = rivals(self.subject, rule, train, held_out, found, seed=ground.seed)
            coloured = colours(self.subject, rule, train, held_out, seed=ground.seed)
        with self._timed("places"):
            places = draw(ground, self.subject, rule, held_out)
        with self._timed("inputs"):
            better, gap = self._better(beaten, train, fitted.mean_on - fitted.mean_off)
            driven = inputs(ground, self.subject, rule, places, gap, better=better)
        with self._timed("outputs"):
            drives = outputs(ground, self.subject, self.claim, places, train)
        checks = verdict_checks.checks(fitted, beaten, coloured, driven, drives)
        self.notes += verdict_checks.remarks(fitted, drives)
        grade, missing = verdict_grades.grade(checks)
        return self._record(
            grade, missing, checks, fit=fitted, rivals=beaten, colours=coloured, inputs=driven, outputs=drives
        )

    def _better(self, beaten: Rivals, train: Readings, gap: float) -> tuple[Rule | None, float]:
        """The best rival that is significantly better, and the farther apart of its two means and the rule's own."""
        rival = verdict_checks.better_rival(beaten)
        if rival is None:
            return None, gap
        better = parse_rule(rival.rule)
        levels = learn(scored(train, self.subject), [better])
        other = float(levels.on[0] - levels.off[0])
        return better, other if abs(other) > abs(gap) else gap

    def _untestable(self, reason: str) -> Verdict:
        self.notes.insert(0, reason)
        return self._record(verdict_grades.UNTESTABLE, (), ())

    def _record(self, grade: str, missing: tuple[str, ...], checks: tuple[Check, ...], **parts) -> Verdict:
        ground, given = self.ground, {k: parts[k] for k in ("fit", "rivals", "inputs", "outputs") if k in parts}
        notes = tuple(self.notes)
        return Verdict(
            unit=self.subject.name,
            kind=self.subject.kind,
            scalar=self.subject.words,
            rule=str(self.rule),
            claim=str(self.claim),
            simplified=str(rule_logic.simplify(self.rule)),
            in_words=rule_logic.in_words(self.rule),
            grade=grade,
            summary=summary(grade, notes, missing, checks, **given),
            missing=missing,
            checks=checks,
            notes=notes,
            **{name: parts.get(name) for name in ("fit", "rivals", "colours", "inputs", "outputs")},
            model=ground.model.name,
            model_hash=ground.model.hash,
            games=f"{ground.held_out.source} ({ground.held_out.fingerprint})",
            band=(ground.band.start, ground.band.stop - 1),
            seed=ground.seed,
            seconds=self.seconds,
        )

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.seconds[step] = round(time.perf_counter() - begun, 3)

    def _base_rate(self) -> str:
        held_out = self.ground.held_out[:300]
        boards = held_out.boards()
        where = boards.valid.clone()
        where[:, : self.ground.band.start] = where[:, self.ground.band.stop :] = False
        packed = Packed(boards, where)
        return f"{packed.count(self.rule):,} of {packed.n:,} positions of {len(held_out)} games"
