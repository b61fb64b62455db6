"""The rules of a whole model, layer by layer: found, counted, put in neurons' place; a run that was cut off goes on.

    found = find_rules(model, games, readers=probes.board_readers(), folder="found")
    found.table.save("rules.parquet")

One forward pass over the games serves everything (`circuits.induction.sample.layers`). With a folder, every finished
layer is kept there under a key of all that it depends on: the model's and the games' fingerprints, the split, the
band, the settings, the probes and the code itself. A second run with the same ones takes what is there.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path

from tqdm.auto import tqdm

from circuits import census
from circuits.board_readers import BoardReader
from circuits.census.counts import ModelCounts, counts
from circuits.census.layer import Setting, census_of_layer
from circuits.census.patterns_covered import pattern_census
from circuits.census.predictions import predictions, some_games
from circuits.census.records import LayerCensus
from circuits.census.replaced import Predictions, Replaced, replaced
from circuits.errors import InputError
from circuits.games import MIDDLE_BAND, Games, generate
from circuits.induction.as_published import AsPublished
from circuits.induction.discover import discover
from circuits.induction.facts import Facts, facts
from circuits.induction.layer_files import LayerFiles, LayerFound
from circuits.induction.records import Provenance
from circuits.induction.sample import LayerActs, layers, sample
from circuits.induction.table import RuleTable
from circuits.induction.trees import MOST_DEPTH, grow
from circuits.othello_model import OthelloModel
from circuits.pattern_neurons import pattern_neurons

#: added to a seed: rules are found on games that nothing else looks at, so that they can be tested on the others
RULE_SEEDS = 1 << 41
GAMES, DEPTH, LEAF, SPLIT = 2000, 8, 50, 100


@dataclass(frozen=True, eq=False)
class Found:
    """The table, what was counted of each layer, and the model with rules in its neurons' place, where it was run."""

    table: RuleTable
    census: tuple[LayerCensus, ...]
    counts: ModelCounts
    replaced: Replaced | None
    resumed: tuple[int, ...]  # layers that were there already


def games_for_rules(n: int = GAMES, seed: int = 0) -> Games:
    """Random games kept for finding rules: those of no seed that is given elsewhere."""
    return replace(generate(n, RULE_SEEDS + seed), source=f"random, kept for rules, seed {seed}, {n} games")


def find_rules(
    model: OthelloModel,
    games: Games,
    *,
    readers: Mapping[str, BoardReader] | None = None,
    band: slice = MIDDLE_BAND,
    seed: int = 0,
    layers: Sequence[int] | None = None,
    depth: int = DEPTH,
    resamples: int = 0,
    replace_neurons: bool = True,
    folder: Path | None = None,
    progress: bool = True,
) -> Found:
    """Rules for every neuron of some layers.

    Args:
        games: split by transcript into training, tuning and held-out games.
        readers: board probes by point, for what neurons write to the checkpoint; none: that is left out.
        layers: all if not given.
        resamples: random halves of the training games on which rules are found again.
        replace_neurons: run the model with rules in the place of neurons.
        folder: for finished layers.

    Raises:
        InputError: too few games, no such layer, a depth that trees cannot have, the folder cannot be written.
    """
    run = Run(model, games, readers or {}, band, seed, depth, resamples, folder, progress)
    return run.find(run.check_layers(layers), replace_neurons)


@cache
def method() -> str:
    """The code that finds and counts, as a hash: what an older version left in a folder is not taken for this one's."""
    packages = Path(__file__).parent, Path(census.__file__).parent
    sources = [path.read_bytes() for package in packages for path in sorted(package.glob("*.py"))]
    return sha256(b"\0".join(sources)).hexdigest()


@dataclass(frozen=True, eq=False)
class Run:
    """One run; what its parts share is made when it is first needed."""

    model: OthelloModel
    games: Games
    readers: Mapping[str, BoardReader]
    band: slice
    seed: int
    depth: int
    resamples: int
    folder: Path | None
    progress: bool

    def __post_init__(self) -> None:
        if not 1 <= self.depth <= MOST_DEPTH:
            raise InputError(f"trees of depth {self.depth}: give 1 to {MOST_DEPTH}")
        if self.resamples < 0:
            raise InputError(f"{self.resamples} resamples: give 0 or more")

    def find(self, wanted: tuple[int, ...], replace_neurons: bool) -> Found:
        """Every wanted layer, and then the whole."""
        done = {layer: self.files.layer(layer) for layer in wanted}
        todo = [layer for layer in wanted if done[layer] is None]
        name, predicted = f"replaced-{_joined(wanted)}", []
        whole = self.files.record(name, Replaced) if replace_neurons else None
        need_acts = replace_neurons and whole is None
        last = wanted[-1] if need_acts else max(todo, default=-1)
        n = self.model.shape.d_mlp
        with self._bar(n * len(wanted), n * (len(wanted) - len(todo))) as bar:
            # Every layer on the way, wanted or not: so the numbers of one are the same to the last bit in every run.
            for acts in layers(self.sample, range(last + 1)) if last >= 0 else ():
                if acts.layer in todo:
                    done[acts.layer] = self.layer(acts)
                    self.files.keep_layer(done[acts.layer])
                    bar.update(n)
                elif todo and acts.layer < todo[-1]:
                    self.setting.on_images(acts.layer)
                if need_acts and acts.layer in wanted:
                    predicted.append(self.predictions(done[acts.layer], acts))
        found = list(done.values())
        if need_acts:
            chosen = some_games(self.facts)
            whole = replaced(
                self.sample.model, chosen, predicted, self.band, seed=self.seed,
                progress="rules in place of neurons" if self.progress else None,
            )  # fmt: skip
            self.files.keep_record(name, whole)
        census = tuple(own.census for own in found)
        counted = self.counted(wanted, found)
        rows = [row for own in found for row in own.rows]
        neurons = [row for own in census for row in own.neurons]
        table = RuleTable.of(self.provenance(sum(own.seconds for own in found)), rows, neurons)
        return Found(table, census, counted, whole, tuple(layer for layer in wanted if layer not in todo))

    def layer(self, acts: LayerActs) -> LayerFound:
        """Rules, trees and census of one layer."""
        start = time.perf_counter()
        trees = grow(self.facts.matrix(self.sample.train), acts.train, self.depth, LEAF, SPLIT)
        label = f"L{acts.layer}" if self.progress and sys.stderr.isatty() else None
        found = {"depth": self.depth, "trees": trees, "resamples": self.resamples, "progress": label}
        rows = discover(self.facts, acts, acts.names, **found)
        published = self.published.r2(acts).tolist()
        rows = [replace(row, tree_published=r2) for row, r2 in zip(rows, published, strict=True)]
        census = census_of_layer(self.setting, acts, rows)
        return LayerFound(acts.layer, tuple(rows), census, trees, time.perf_counter() - start)

    def counted(self, wanted: tuple[int, ...], found: Sequence[LayerFound]) -> ModelCounts:
        """The counts of all layers together; pattern neurons where these are all the layers of the model."""
        name = f"counts-{_joined(wanted)}"
        known = self.files.record(name, ModelCounts)
        if known is not None:
            return known
        patterns = ()
        if len(wanted) == self.model.shape.n_layers:
            label = "pattern neurons" if self.progress else None
            patterns = pattern_census(pattern_neurons(self.sample.model, self.games, progress=label))
        made = counts(self.sample, [own.census for own in found], [own.rows for own in found], patterns)
        self.files.keep_record(name, made)
        return made

    def predictions(self, own: LayerFound, acts: LayerActs) -> Predictions:
        return predictions(own.rows, own.trees, acts, self.facts)

    def _bar(self, total: int, initial: int) -> tqdm:
        disable = None if self.progress else True
        return tqdm(total=total, initial=initial, desc="rules", unit=" neurons", disable=disable, leave=False)

    def check_layers(self, wanted: Sequence[int] | None) -> tuple[int, ...]:
        """The wanted layers in order.

        Raises:
            InputError: none, or one that the model has not.
        """
        n = self.model.shape.n_layers
        chosen = tuple(range(n)) if wanted is None else tuple(sorted(set(wanted)))
        bad = [layer for layer in chosen if not 0 <= layer < n]
        if bad or not chosen:
            said = f"layer {bad[0]}" if bad else "no layers"
            raise InputError(f"{said}: model {self.model.name} has layers 0..{n - 1}")
        return chosen

    @cached_property
    def sample(self):
        return sample(self.model, self.games, self.band, self.seed)

    @cached_property
    def facts(self) -> Facts:
        return facts(self.sample)

    @cached_property
    def setting(self) -> Setting:
        return Setting(self.sample, self.readers)

    @cached_property
    def published(self) -> AsPublished:
        return AsPublished(self.sample)

    @cached_property
    def files(self) -> LayerFiles:
        return LayerFiles(self.folder, self.key)

    @cached_property
    def key(self) -> str:
        """What every layer depends on, in 16 hex digits."""
        probes = {
            hook: sha256(reader.weight.detach().float().cpu().contiguous().numpy().tobytes()).hexdigest()
            for hook, reader in sorted(self.readers.items())
        }
        parts = (
            method(), self.model.hash, self.games.fingerprint, self.games.ids.tolist(), self.band.start, self.band.stop,
            self.seed, self.depth, LEAF, SPLIT, self.resamples, probes,
        )  # fmt: skip
        return sha256(repr(parts).encode()).hexdigest()[:16]

    def provenance(self, seconds: float) -> Provenance:
        s, f = self.sample, self.facts
        return Provenance(
            model=self.model.hash, model_name=self.model.name, games=len(self.games), games_source=self.games.source,
            fingerprint=self.games.fingerprint, seed=self.seed, first_ply=self.band.start, last_ply=self.band.stop - 1,
            train_games=s.train.n_games, tune_games=s.tune.n_games, held_out_games=s.held_out.n_games,
            train_positions=s.train.n, tune_positions=s.tune.n, held_out_positions=s.held_out.n,
            literals=f.n_literals, literals_tried=f.tried, depth=self.depth, leaf=LEAF, split=SPLIT,
            resamples=self.resamples, seconds=seconds,
        )  # fmt: skip


def _joined(numbers: Sequence[int]) -> str:
    return "-".join(map(str, numbers))
