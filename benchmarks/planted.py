"""The tool on trial: how often discovery finds rules that were planted, and what verdicts say of decoys.

    python benchmarks/planted.py [--seed 0 1 2] [--quick] [--games 2000] [--out FILE.json]

Prints shares with Wilson's 95 % intervals, and writes everything as one JSON (`circuits.trial.records`).
Parts: invented activations (rules at a grid of noise and dose; noise; clocks; real neurons dealt to other games) and
neurons planted through the weights of a copy of the model, along directions of a probe trained here on games of its
own; verdicts on these read squares' states with the bundled probes.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import torch

import probes
from circuits import models, plain
from circuits.games import generate
from circuits.induction.facts import facts
from circuits.induction.sample import sample
from circuits.trial import planting
from circuits.trial import run as trial
from circuits.trial.decoys import draw_claims
from circuits.trial.hosts import Bed
from circuits.trial.records import FOUND, OUTCOMES, RECOVERED, SEEN, SILENT, SMALL, Rate, Trial
from circuits.verdicts.grades import CORRELATES, GRADES
from circuits.verdicts.readings import Ground

#: seeds of games begin here, by what they are for: none is shared with what anything else is trained or tested on
GAMES_FROM, PROBE_FROM, VERDICT_FROM = 7_000, 8_000, 9_000
PROBE_GAMES, BED_GAMES = 1500, 800
LAYER = 5
TRAIN, HELD_OUT, FRESH = 300, 2000, 20_000
#: full and quick: rules of a family in a cell, hosts of a layer, noise neurons of a kind, clocks of a kind, claims
FULL = {"each": 5, "hosts": 12, "noise": 100, "clocks": 30, "claims": 6}
QUICK = {"each": 2, "hosts": 3, "noise": 20, "clocks": 9, "claims": 2}
QUICK_NOISES, QUICK_DOSES = (0.125, 0.5, 2.0), (2.0, planting.ALONE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--games", type=int, default=2000)
    parser.add_argument("--quick", action="store_true", help="fewer of everything, a coarser grid")
    parser.add_argument("--no-weights", action="store_true", help="invented activations alone")
    parser.add_argument("--no-activations", action="store_true", help="planted models alone")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    begun = time.perf_counter()
    parts = [run(seed, given, begun) for seed in given.seed]
    found = together(parts, given, time.perf_counter() - begun)
    show(found)
    if given.out:
        given.out.write_text(found.to_json(1) + "\n", "utf-8")
        print(f"written: {given.out}")


def run(seed: int, given: argparse.Namespace, begun: float) -> dict:
    """Everything of one seed."""
    size = QUICK if given.quick else FULL

    def told(what: str) -> None:
        print(f"[{time.perf_counter() - begun:6.0f} s] seed {seed}: {what}", file=sys.stderr)

    model, games = plain.load(), generate(given.games, seed=GAMES_FROM + seed)
    own = facts(sample(model, games, seed=seed))
    part = {"own": own, "planted": [], "noise": [], "clocks": [], "real": [], "dealt": [], "weights": [], "graded": []}
    if not given.no_activations:
        real, _ = planting.real_neurons(own.sample, size["hosts"], seed)
        rows = trial.found_of(own, real)
        told("hosts")
        dealt = trial.found_of(own, planting.dealt(own.sample, real, seed))
        part |= {"real": [trial.blank("real", rows)], "dealt": [trial.blank("dealt", dealt)]}
        part["noise"] = trial.noise_blanks(own, size["noise"], seed)
        part["clocks"] = trial.clock_blanks(own, size["clocks"], seed)
        told("noise, clocks, dealt")
        grid = (QUICK_NOISES, QUICK_DOSES) if given.quick else (planting.NOISES, planting.DOSES)
        part["planted"] = trial.plant_all(
            own, planting.hosts_of(real), trial.rules_of(rows), size["each"], seed, *grid, told
        )
    if not given.no_weights:
        part |= through_weights(seed, games, size["claims"], told)
    return part


def through_weights(seed: int, games, n: int, told: trial.Told) -> dict:
    checkpoint, bundled = models.read_checkpoint(), plain.load()
    probe_games, hook = generate(PROBE_GAMES, seed=PROBE_FROM + seed), f"blocks.{LAYER}.hook_resid_mid"
    probe = probes.train(bundled, probe_games, hooks=[hook], tasks_=["board"], held_out=0, seed=PROBE_FROM + seed)
    bed = Bed(checkpoint, probe.board_readers()[hook], probe_games[:BED_GAMES], LAYER)
    told("probe")
    later = [f"L{layer}N{neuron}" for layer in range(LAYER + 1, bundled.shape.n_layers) for neuron in range(0, 1024, 7)]
    planted = bed.plant(draw_claims(bed.packed, n, seed, later, bed.fits))
    weights = trial.through_weights(planted, games, seed)
    told("found through weights")
    train, out = generate(2 * HELD_OUT, seed=VERDICT_FROM + seed).split(0.5, seed)
    ground = Ground(
        planted.model, train[:TRAIN], out, seed=seed, readers=probes.load(bundled).board_readers(), fresh=FRESH
    )
    return {"weights": weights, "graded": trial.grade_all(planted, ground, told)}


def together(parts: list[dict], given: argparse.Namespace, seconds: float) -> Trial:
    """The parts of all seeds as one record."""

    def all_of(name: str) -> list:
        return [one for part in parts for one in part[name]]

    def one_of(name: str):
        found = trial.merged(all_of(name))
        return found[0] if found else trial.blank(name, [])

    s = parts[0]["own"].sample
    return Trial(
        model=s.model.name,
        model_hash=s.model.hash,
        games=given.games,
        train_positions=s.train.n,
        held_out_positions=s.held_out.n,
        band=(s.band.start, s.band.stop - 1),
        seeds=tuple(given.seed),
        planted=tuple(all_of("planted")),
        noise=tuple(trial.merged(all_of("noise"))),
        clocks=tuple(trial.merged(all_of("clocks"))),
        dealt=one_of("dealt"),
        real=one_of("real"),
        weights=tuple(all_of("weights")),
        graded=tuple(all_of("graded")),
        seconds=round(seconds, 1),
    )


def said(rate: Rate) -> str:
    if not rate.n:
        return "-"
    return f"{100 * rate.value:5.1f} % [{100 * rate.low:.1f}, {100 * rate.high:.1f}] {rate.k}/{rate.n}"


def show(t: Trial) -> None:
    print(
        f"\n{t.model} ({t.model_hash}), {t.games} games, seeds {t.seeds}, {t.train_positions:,} training positions; "
        f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}, {t.seconds:.0f} s"
    )
    for h in t.headlines:
        asked = f"{'at least' if h.at_least else 'at most'} {100 * h.asked:g} %"
        print(f"  {h.what:74s} {said(h.rate):38s} asked {asked}{'' if h.met is not False else '  MISSED'}")
    if t.planted:
        _planted(t)
    for title, blanks in (("noise", t.noise), ("clocks", t.clocks), ("real neurons", (t.dealt, t.real))):
        print(f"\n{title}: statuses, called, the most that a reported rule explains")
        for b in blanks:
            counts = ", ".join(f"{n} {status}" for status, n in sorted(b.statuses.items()))
            called, explained = said(b.share("explained", "partly")), said(b.share("explained"))
            print(f"  {b.kind:14s} {counts:45s} called {called}, {b.by_ply} by the ply; explained {explained}; "
                  f"at most {b.worst:.3f} ({b.worst_rule})")  # fmt: skip
    if t.weights:
        print("\nplanted through weights")
        for w in t.weights:
            print(f"  {w.unit} {w.claim:50s} planting F1 {w.planting:.2f}, explains {w.fits:.2f}; {w.status}: "
                  f"{w.outcome}: {w.found} {w.explained:.2f} {list(w.alternatives)}")  # fmt: skip
        kinds = dict.fromkeys(g.kind for g in t.graded)
        for kind in kinds:
            of = [g for g in t.graded if g.kind == kind]
            counts = {grade: n for grade in GRADES if (n := sum(g.grade == grade for g in of))}
            print(f"  verdicts on {kind}: {counts}")
        for g in t.graded:
            if g.kind != "true" and GRADES.index(g.grade) > GRADES.index(CORRELATES):
                print(f"  too high: {g.unit} {g.claim} ({g.kind}, phi {g.correlation:.2f}): {g.grade}: ", *g.moves)


def _planted(t: Trial) -> None:
    small = tuple(noise for noise in t.noises if noise <= SMALL)
    print(f"\nrecovered or listed, noise up to {SMALL:g}, no host: {said(t.of(*SEEN, noises=small, doses=(None,)))}")
    print(f"near misses as if they were the rule, status explained or partly: {said(t.of(SILENT, called=True))}")
    for family in t.families:
        rates = (t.of(RECOVERED, family=family, noises=(noise,), doses=(None,)) for noise in t.noises)
        print(f"  {family:15s}" + "  ".join(f"{noise:g}: {said(r)}" for noise, r in zip(t.noises, rates, strict=True)))
    print("recovered, beside the host's own terms or not, by noise (columns) and dose (rows)")
    for dose in t.doses:
        cells = "  ".join(said(t.of(*FOUND, noises=(noise,), doses=(dose,))) for noise in t.noises)
        print(f"  {'no host' if dose is None else f'{dose:g}':8s}{cells}")
    print("outcomes by dose")
    for dose in t.doses:
        shares = ", ".join(f"{o} {t.of(o, doses=(dose,)).k}" for o in OUTCOMES if t.of(o, doses=(dose,)).k)
        print(f"  {'no host' if dose is None else f'{dose:g}':8s}{shares}")
    missed = [p for p in t.planted if p.noise <= SMALL and p.dose is None and p.outcome != RECOVERED]
    for p in missed[:40]:
        print(f"  missed at {p.noise:g}: {p.rule} -> {p.outcome}: {p.found} {list(p.alternatives)} "
              f"({p.status}, margin {p.margin:.2f}, other {p.other})")  # fmt: skip
    for p in [p for p in t.planted if p.outcome == SILENT][:40]:
        print(
            f"  silent at {p.noise:g}, dose {p.dose}: {p.rule} -> {p.found} ({p.status}, agreement {p.agreement:.2f})"
        )


if __name__ == "__main__":
    main()
