"""One worker: it opens the atlas's inputs, computes parts by name, and keeps each under its key.

A worker needs nothing but the place of the atlas: the plan, the model's file, the probes' directions and a file's games
are in it. Every part is computed on one thread, so that its bits do not depend on how many work beside it; on a GPU
torch's own order of sums decides.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from circuits import checkpoints, plain
from circuits.atlas import profiles
from circuits.atlas.ablation_tally import Ablations
from circuits.atlas.ablations import ablate_units
from circuits.atlas.plan import ABLATED_AT_ONCE, Plan
from circuits.atlas.sources import Opened
from circuits.atlas.store import DamagedError, Store, about_of
from circuits.atlas.streamed import Streamed, streamed
from circuits.board_readers import BoardReader
from circuits.directions import Directions
from circuits.errors import InputError
from circuits.games import Games
from circuits.heads import profile_heads
from circuits.induction.run import Run
from circuits.induction.table import RuleTable
from circuits.induction.threads import one_thread
from circuits.mining import FIXED_POINT, Mining, mine
from circuits.notation import N_CTX
from circuits.patterns import FactScores, Gallery, Score
from circuits.plain import PlainModel

PLAN, MODEL, PROBES = "plan.json", "inputs/model", "inputs/probes"
#: stages whose parts are added up, and what the sum is called
MERGED = {"stream": "merged", "ablations": "ablated"}
#: facts kept of each neuron
FACTS_KEPT = 5


@dataclass(frozen=True, eq=False)
class Worker:
    """Computes parts of one atlas; what they share is opened when it is first needed."""

    store: Store
    device: str = "cpu"

    @cached_property
    def plan(self) -> Plan:
        data = self.store.unseal(PLAN)
        if data is None:
            raise InputError(f"{self.store.where(PLAN)} is missing: no atlas was begun here")
        return Plan.from_json(data.decode())

    @cached_property
    def model(self) -> PlainModel:
        return model_of(self._input(MODEL), self.plan, self.device)

    @cached_property
    def _probes(self) -> tuple[dict[str, BoardReader], dict[str, Directions]]:
        return probes_of(self._input(PROBES))

    @property
    def readers(self) -> dict[str, BoardReader]:
        """By point, on the model's device."""
        found = self._probes[0]
        return {h: BoardReader(h, r.weight.to(self.device), r.bias.to(self.device)) for h, r in found.items()}

    @property
    def directions(self) -> dict[str, Directions]:
        return self._probes[1]

    @cached_property
    def games(self) -> Opened:
        return self.plan.source.opened(self.store)

    @cached_property
    def sample(self) -> Games:
        """The games that patterns and heads are looked at on."""
        return self.games.sample(self.plan.settings.sample_games, self.plan.settings.seed, "sample")

    @cached_property
    def gallery(self) -> Gallery:
        s, games = self.plan.settings, self.sample
        mined = mine(self.model, games, k=1, sample_games=len(games), plies=s.band, seed=s.seed, batch_size=s.batch)
        return Gallery(mined, games, seed=s.seed)

    @cached_property
    def rules(self) -> Run:
        s = self.plan.settings
        games = self.games.sample(s.rule_games, s.seed, "rules")
        return Run(self.model, games, self.readers, s.band, s.seed, s.depth, 0, None, False)

    @cached_property
    def means(self) -> tuple[Tensor, Tensor]:
        """Mean activation of every neuron, and mean output of every head, by ply; from the merged pass."""
        found = merged_pass(self.store, self.plan)
        if found is None:
            raise InputError(f"{self.store.where(merged(self.plan))} is missing: run the same command again")
        return neuron_means(found.mining), found.heads.mean_z()

    def do(self, part: str) -> None:
        """Compute a part and keep it, if it is not there yet.

        Raises:
            InputError: what the part's computation refuses; it cannot be written.
        """
        name = self.plan.object(part)
        if self.store.has(name):
            return
        stage, _, which = part.partition("-")
        with one_thread(torch.device(self.device)), torch.no_grad():
            data = getattr(self, f"_{stage}")(which)
        self.store.seal(name, data)

    def _stream(self, which: str) -> bytes:
        s = self.plan.settings
        games = self.games.part(*self.plan.shards[int(which)])
        return streamed(self.model, games, self.readers, s.band, k=s.examples, batch_size=s.batch).to_bytes()

    def _heads(self, _: str) -> bytes:
        train, held_out = self.sample.split(0.5, self.plan.settings.seed)
        band = self.plan.settings.band
        return profiles.to_bytes(profile_heads(self.model, train, held_out, self.directions, band=band))

    def _patterns(self, which: str) -> bytes:
        layer = int(which[1:])
        units = [self.model.unit(f"L{layer}N{n}") for n in range(self.model.shape.d_mlp)]
        return json.dumps([asdict(self.gallery.score(unit, FACTS_KEPT)) for unit in units]).encode()

    def _rules(self, which: str) -> bytes:
        table = self.rules.find((int(which[1:]),), False).table
        # How long it took is no part of what was found.
        table = replace(table, provenance=replace(table.provenance, seconds=None))
        return json.dumps(table.to_dict(), allow_nan=False).encode()

    def _ablations(self, which: str) -> bytes:
        s, at = self.plan.settings, int(which) * ABLATED_AT_ONCE
        # One order of games for all parts, and each takes its own: nothing is counted twice.
        games = self.games.sample(s.ablated, s.seed, "ablated")
        part = games[slice(at, at + ABLATED_AT_ONCE)]
        return ablate_units(self.model, part, *self.means, s.band, s.seed).to_bytes()

    def _input(self, name: str) -> bytes:
        data = self.store.unseal(name)
        if data is None:
            raise InputError(f"{self.store.where(name)} is missing: run the same command again")
        return data


# ---- inputs, and parts read back -----------------------------------------------------------------------


def model_of(data: bytes, plan: Plan, device: str = "cpu") -> PlainModel:
    """The model of the atlas from its file.

    Raises:
        InputError: it is not the plan's.
    """
    checkpoint = checkpoints.from_bytes(data, Path("model.safetensors"))
    model = plain.build(checkpoint.shape, checkpoint.weights, checkpoint.card, plan.model_name, device=device)
    if model.hash != plan.model:
        raise InputError(f"the atlas's model file has hash {model.hash}; its plan says {plan.model}: make it anew")
    return model


def probes_to_bytes(readers: Mapping[str, BoardReader], directions: Mapping[str, Directions]) -> bytes:
    """Board probes and named directions by point, as one safetensors file."""
    tensors = {f"weight {hook}": r.weight.float().cpu().contiguous() for hook, r in sorted(readers.items())}
    tensors |= {f"bias {hook}": r.bias.float().cpu().contiguous() for hook, r in sorted(readers.items())}
    tensors |= {f"directions {hook}": d.vectors.float().cpu().contiguous() for hook, d in sorted(directions.items())}
    about = {hook: {"names": d.names, "source": d.source} for hook, d in sorted(directions.items())}
    return save(tensors, {"about": json.dumps(about)})


def probes_of(data: bytes) -> tuple[dict[str, BoardReader], dict[str, Directions]]:
    """The inverse of `probes_to_bytes`."""
    about = about_of(data)
    tensors = load(data)
    hooks = [name.removeprefix("weight ") for name in tensors if name.startswith("weight ")]
    readers = {hook: BoardReader(hook, tensors[f"weight {hook}"], tensors[f"bias {hook}"]) for hook in hooks}
    found = {
        hook: Directions(tensors[f"directions {hook}"], tuple(own["names"]), hook, own["source"])
        for hook, own in about.items()
    }
    return readers, found


def merged(plan: Plan, stage: str = "stream") -> str:
    """Where the sum of a stage's parts is kept."""
    return plan.object(stage).replace(stage, MERGED[stage])


def merged_pass(store: Store, plan: Plan) -> Streamed | None:
    """The pass over all games; None where it is not there, or damaged (it is merged again)."""
    return _merged(store, merged(plan), Streamed.of_bytes)


def merged_ablations(store: Store, plan: Plan) -> Ablations | None:
    """All ablations; None as for `merged_pass`, and where none were asked for."""
    return _merged(store, merged(plan, "ablations"), Ablations.of_bytes)


def _merged(store: Store, name: str, of: Callable[[bytes], Any]) -> Any:
    try:
        data = store.unseal(name)
    except DamagedError:
        store.remove(name)
        return None
    return None if data is None else of(data)


def neuron_means(mining: Mining) -> Tensor:
    """[layer, neuron, ply 59]: mean activations at the plies of the band; NaN elsewhere, and where no game has one."""
    sums = mining.sums.double() / FIXED_POINT / mining.count
    found = torch.full((*mining.squares.shape, N_CTX), torch.nan)
    found[..., mining.first_ply : mining.last_ply + 1] = sums.float()
    return found


def patterns_of(data: bytes) -> tuple[FactScores, ...]:
    """The scores of a layer's neurons."""
    return tuple(FactScores(tuple(_score(one) for one in row.pop("scores")), **row) for row in json.loads(data))


def _score(one: dict) -> Score:
    return Score(**{name: tuple(value) if isinstance(value, list) else value for name, value in one.items()})


def rules_of(data: bytes) -> RuleTable:
    return RuleTable.from_dict(json.loads(data))
