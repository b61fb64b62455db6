"""An atlas made, or gone on with: parts computed by a driver, merged in a fixed order, written as tables.

    heads, rules, patterns, stream     independent parts                   `work`
    merged                             the shards' passes added up, in order; then the shards are removed
    ablations, ablated                 parts again, with the means of the merged pass; and their sum
    tables                             Parquet, and last of all atlas.json, which lists them with their checksums

Whatever ends a run, the next one with the same settings finds the finished parts under their keys and goes on; nothing
is counted twice, since parts are added up in one go and only when all are there. A damaged part is computed again. One
run works in a place at a time. The tables depend on the plan alone: not on workers, interruptions, or their order.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import torch
from tqdm.auto import tqdm

from circuits import checkpoints
from circuits.atlas import profiles, sources, work
from circuits.atlas.ablation_tally import Ablations
from circuits.atlas.drivers import Driver, Local
from circuits.atlas.opened import Atlas
from circuits.atlas.plan import FORMAT, Plan
from circuits.atlas.results import Results
from circuits.atlas.store import DamagedError, Store
from circuits.atlas.streamed import Streamed
from circuits.atlas.tables import write_tables
from circuits.board_readers import BoardReader
from circuits.checkpoints import Checkpoint
from circuits.directions import Directions
from circuits.errors import InputError
from circuits.games import Games
from circuits.induction.table import RuleTable, join
from circuits.notation import Unit
from circuits.told import say

MANIFEST = "atlas.json"

Value = TypeVar("Value")


@dataclass(frozen=True, eq=False)
class Inputs:
    """What the atlas's copies are made of.

    Attributes:
        checkpoint: the model's raw weights; games: those of a file, None for random ones.
        rules: the table that was there already, where the plan says so.
        unchanged: asked at the end: raises InputError where the games file is no longer what it was.
    """

    checkpoint: Checkpoint
    readers: Mapping[str, BoardReader]
    directions: Mapping[str, Directions]
    games: Games | None = None
    rules: RuleTable | None = None
    unchanged: Callable[[], None] = lambda: None


def make_atlas(
    plan: Plan, inputs: Inputs, store: Store, driver: Driver | None = None, *, layers: Sequence[int] | None = None,
    units: Sequence[Unit] | None = None, progress: bool = True,
) -> Atlas | None:  # fmt: skip
    """Make an atlas, or go on with one.

    Args:
        layers, units: those that get rows in the tables (all); the pass itself is over all neurons anyway.

    Returns:
        The atlas; None in a process that does not lead.

    Raises:
        InputError: the place has another atlas, or another run is at work there; what the parts refuse; a worker that
            dies again and again; no room. What is done is kept.
    """
    driver = driver or Local()
    run = _Run(plan, inputs, store, driver, _layers(plan, layers, units), units, progress)
    if not driver.leads:
        driver.wait()  # until the inputs are there
        run.parts()
        return None
    with store.lock():
        return run.lead()


def _layers(plan: Plan, layers: Sequence[int] | None, units: Sequence[Unit] | None) -> tuple[int, ...]:
    """
    Raises:
        InputError: none, or one that the model has not.
    """
    every = range(plan.n_layers)
    chosen = sorted(set(every if layers is None else layers))
    outside = [unit for unit in units or () if unit.layer not in chosen]
    if outside:
        raise InputError(f"{outside[0]} is not in the layers asked for, {', '.join(map(str, chosen))}")
    if units is not None:
        chosen = sorted({unit.layer for unit in units})
    bad = [layer for layer in chosen if layer not in every]
    if bad or not chosen:
        said = f"layer {bad[0]}" if bad else "no layers"
        raise InputError(f"{said}: model {plan.model_name} has layers 0..{plan.n_layers - 1}")
    return tuple(chosen)


@dataclass(frozen=True, eq=False)
class _Run:
    plan: Plan
    inputs: Inputs
    store: Store
    driver: Driver
    layers: tuple[int, ...]
    units: Sequence[Unit] | None
    progress: bool

    def lead(self) -> Atlas:
        self.begin()
        for merged in (work.merged_pass, work.merged_ablations):
            merged(self.store, self.plan)  # one that is damaged goes, before anybody relies on it
        self.driver.wait()
        self.parts()
        results = self.results()
        self.inputs.unchanged()
        return self.write(results)

    def begin(self) -> None:
        """Put the inputs into the place, unless they are there."""
        try:
            before = self.store.unseal(work.PLAN)
            damaged = False
        except DamagedError:  # parts lie under keys of their own, whatever it said
            before, damaged = None, True
        if before is not None:
            differs = self.plan.differs(Plan.from_json(before.decode()))
            if differs:
                raise InputError(
                    f"{self.store.url} holds an atlas of something else ({'; '.join(differs[:3])}): "
                    "give another --out, or remove that one"
                )
            self._keep_the_whole()
        elif self.store.has(MANIFEST) and not damaged:
            raise InputError(f"{self.store.url} holds something else: give another --out")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.safetensors"
            checkpoints.write(self.inputs.checkpoint, path, dtype=torch.float32)
            self._put(work.MODEL, path.read_bytes())
        self._put(work.PROBES, work.probes_to_bytes(self.inputs.readers, self.inputs.directions))
        if self.inputs.games is not None:
            self._put(sources.GAMES, sources.to_bytes(self.inputs.games))
        self._put(work.PLAN, self.plan.to_json().encode())

    def _keep_the_whole(self) -> None:
        """Refuse to put tables of some units in the place of tables of more."""
        try:
            about = json.loads(self.store.read(MANIFEST) or b"{}").get("provenance", {})
            layers, units = about.get("layers", []), about.get("units", [])
        except (ValueError, AttributeError):  # damaged: it is written again
            return
        mine = None if self.units is None else {str(unit) for unit in self.units}
        fewer = not set(layers) <= set(self.layers) or (mine is not None and (units is None or not set(units) <= mine))
        if fewer:
            raise InputError(
                f"{self.store.url} holds the tables of more units than are asked for: leave --layers and --units out, "
                "or give another --out"
            )

    def parts(self) -> None:
        """All parts, the shards' merged before the ablations begin."""
        free = [part for stage in ("rules", "heads", "patterns") for part in self.plan.parts(stage, self.layers)]
        self._summed("stream", Streamed.of_bytes, free, "heads, rules, patterns, games")
        self._summed("ablations", Ablations.of_bytes, [], "ablations")

    def _summed(self, stage: str, of: Callable[[bytes], Any], free: Sequence[str], what: str) -> None:
        """A stage's parts merged into one object, after which they are removed; and others computed beside them."""
        have = self.store.has(work.merged(self.plan, stage))
        self.driver.wait()  # all have looked before anything changes
        every = self.plan.parts(stage, self.layers)
        self._compute([*free, *([] if have else every)], what)
        self.driver.wait()
        if self.driver.leads:
            if every and not have:
                self._merge(stage, every, of)
            for part in every:  # also those that a killed run left beside the sum
                self.store.remove(self.plan.object(part))
        self.driver.wait()

    def results(self) -> Results:
        """Everything read back."""
        rules = None
        if self.plan.settings.rules == "find":
            found = [self._read(part, work.rules_of) for part in self.plan.parts("rules", self.layers)]
            rules = join(found)
        elif self.inputs.rules is not None:
            rules = self.inputs.rules
        tallied = work.merged_ablations(self.store, self.plan)
        if tallied is None and self.plan.parts("ablations", self.layers):
            raise self._damaged("ablations")
        worker = self._worker
        patterns = {
            layer: self._read(part, work.patterns_of)
            for layer, part in zip(self.layers, self.plan.parts("patterns", self.layers), strict=True)
        }
        streamed = work.merged_pass(self.store, self.plan)
        if streamed is None:
            raise self._damaged("stream")
        profiled = self._read("heads", profiles.of_bytes)
        return Results(
            model=worker.model, readers=worker.readers, directions=worker.directions,
            games=worker.games.of_ids(streamed.example_games()), streamed=streamed, patterns=patterns, rules=rules,
            profiles=profiled, ablations=tallied,
            layers=self.layers, units=None if self.units is None else tuple(self.units),
            provenance=self.provenance(streamed, tallied, rules),
        )  # fmt: skip

    def provenance(self, streamed: Streamed, tallied: Ablations | None, rules: RuleTable | None) -> dict[str, Any]:
        """What the tables were made of, as plain data."""
        s, p = self.plan.settings, self.plan
        sample = self._worker.sample
        return {
            "format": FORMAT, "key": p.key, "model": p.model, "model_name": p.model_name, "games": p.source.games,
            "games_source": p.source.source, "fingerprint": p.source.fingerprint, "first_ply": s.first_ply,
            "last_ply": s.last_ply, "positions": streamed.mining.positions, "seed": s.seed, "probes": p.probes,
            "sample_games": len(sample), "sample_held_out": len(sample.split(0.5, s.seed)[1]),
            "rule_games": None if rules is None else rules.provenance.games,
            "rule_held_out": None if rules is None else rules.provenance.held_out_games,
            "ablated_positions": 0 if tallied is None else tallied.positions, "settings": s.to_dict(),
            "code": p.code, "torch": p.torch, "device": p.device,
            "layers": list(self.layers), "units": None if self.units is None else [str(u) for u in self.units],
        }  # fmt: skip

    def write(self, results: Results) -> Atlas:
        """The tables, and when all are there the list of them."""
        tables: dict[str, dict[str, Any]] = {}

        def put(name: str, data: bytes) -> None:
            tables[name.partition(".")[0]] = {"file": name, "sha256": sha256(data).hexdigest(), "bytes": len(data)}
            self.store.write(name, data)

        write_tables(results, put)
        manifest = {"format": FORMAT, "key": self.plan.key, "provenance": results.provenance, "tables": tables}
        self.store.write(MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False).encode() + b"\n")
        return Atlas.open(self.store.url)

    def _compute(self, parts: Sequence[str], what: str) -> None:
        # Processes that share the parts by their places in the list must all have the same one.
        every = self.driver.shares
        todo = [part for part in parts if every or not self.store.has(self.plan.object(part))]
        show = self.progress and self.driver.leads and sys.stderr.isatty()
        with tqdm(total=len(parts), initial=len(parts) - len(todo), desc=what, unit=" parts", disable=not show) as bar:
            for _ in self.driver.each(self.store, todo):
                bar.update(1)

    def _merge(self, stage: str, parts: Sequence[str], of: Callable[[bytes], Any]) -> None:
        """``parts``: at least one."""
        total = self._read(parts[0], of)
        for part in parts[1:]:
            total = total.merge(self._read(part, of))
        self.store.seal(work.merged(self.plan, stage), total.to_bytes())

    def _damaged(self, stage: str) -> InputError:
        where = self.store.where(work.merged(self.plan, stage))
        return InputError(f"{where} was damaged meanwhile: run it again")

    def _read(self, part: str, of: Callable[[bytes], Value]) -> Value:
        """A part; computed again where it is damaged or gone."""
        name = self.plan.object(part)
        for _ in range(2):
            try:
                data = self.store.unseal(name)
            except DamagedError as error:
                say(f"{error.args[0].partition(':')[0]}; it is computed again")
                self.store.remove(name)
                data = None
            if data is not None:
                return of(data)
            self._worker.do(part)
        raise InputError(f"{self.store.where(name)} is damaged as soon as it is written: give another --out")

    @cached_property
    def _worker(self) -> work.Worker:
        return work.Worker(self.store, getattr(self.driver, "device", "cpu"))

    def _put(self, name: str, data: bytes) -> None:
        if not self._sound(name) or self.store.unseal(name) != data:
            self.store.seal(name, data)

    def _sound(self, name: str) -> bool:
        try:
            return self.store.unseal(name) is not None
        except DamagedError:
            return False
