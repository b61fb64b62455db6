"""What an atlas is made of, and by what names its parts are known.

The work is cut into *parts*, each of which depends on nothing but the plan (and, for ablations, on the merged pass):

    stream-00012     the streaming pass over one shard of the games              `streamed`
    heads            profiles of all heads on a sample of the games              `circuits.heads`
    patterns-L3      every neuron of a layer against every fact, on the sample   `circuits.patterns`
    rules-L3         the rules of a layer, on a sample of their own              `circuits.induction`
    ablations-004    every unit ablated, on 64 positions                         `ablations`

A part's *key* hashes everything that it depends on (the model, the games, the settings that matter to it, this
package's code, torch's version, CPU or GPU), so what lies under a key can be used as it is.
"""

from dataclasses import dataclass, fields
from functools import cache
from hashlib import sha256
from pathlib import Path

import torch

import circuits
from circuits.activations import BATCH
from circuits.atlas.sources import Source
from circuits.errors import InputError
from circuits.games import MIDDLE_BAND
from circuits.mining import EXAMPLES, SAMPLE_GAMES
from circuits.notation import N_CTX
from circuits.serial import Record

FORMAT = "othello-circuits atlas 2"
#: games of a shard, and the number of shards from which on they grow instead: what is kept of each is the same size
SHARD_GAMES, MOST_SHARDS = 1000, 256
#: positions of a part of the ablations
ABLATED_AT_ONCE = 64
STAGES = ("heads", "rules", "patterns", "stream", "ablations")
#: settings of parts that can be added to a finished pass
ADDED = ("sample_games", "rule_games", "depth", "ablated", "rules")
#: where the rules come from: found for this atlas; a table found before, of this very model; none
RULES = ("find", "kept", "none")


@dataclass(frozen=True)
class Settings(Record):
    """What may be chosen.

    Attributes:
        first_ply, last_ply: the band; seed: of samples and splits; examples: extremes kept at each end.
        batch: games a forward pass; shard_games: games of a shard.
        sample_games: for patterns and heads, half of them held out; rule_games: for rules, a quarter held out.
        depth: of trees; ablated: positions at which every unit is ablated, one a game.
        rules: one of `RULES`.
    """

    first_ply: int = MIDDLE_BAND.start
    last_ply: int = MIDDLE_BAND.stop - 1
    seed: int = 0
    examples: int = EXAMPLES
    batch: int = BATCH
    shard_games: int = SHARD_GAMES
    sample_games: int = SAMPLE_GAMES
    rule_games: int = 1500
    depth: int = 8
    ablated: int = 512
    rules: str = "find"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("examples", 1), ("batch", 1), ("shard_games", 1), ("sample_games", 2), ("rule_games", 1),
                            ("depth", 1), ("ablated", 0)):  # fmt: skip
            if getattr(self, name) < least:
                raise InputError(f"{name.replace('_', ' ')} {getattr(self, name)}: give {least} or more")
        if not 0 <= self.first_ply <= self.last_ply < N_CTX:
            raise InputError(f"plies {self.first_ply}..{self.last_ply} are not within 0..{N_CTX - 1}")
        if self.rules not in RULES:
            raise InputError(f"rules {self.rules!r}: it is one of {', '.join(RULES)}")

    @property
    def band(self) -> slice:
        return slice(self.first_ply, self.last_ply + 1)


@dataclass(frozen=True)
class Plan(Record):
    """One atlas.

    Attributes:
        probes: what the board probes are, in words; readers: a hash of their weights.
        kept_rules: hash of the table of rules that was there already, where `Settings.rules` is "kept".
        device: "cpu" or "cuda"; results of the two differ in rounding.
    """

    model: str
    model_name: str
    source: Source
    settings: Settings
    n_layers: int
    probes: str
    readers: str
    kept_rules: str | None
    device: str
    code: str
    torch: str

    @property
    def key(self) -> str:
        return _hash(FORMAT, self.to_dict())

    @property
    def shards(self) -> list[tuple[int, int]]:
        """First row and the row behind the last of every shard."""
        n, size = self.source.games, self.settings.shard_games
        return [(first, min(first + size, n)) for first in range(0, n, size)]

    def parts(self, stage: str, layers: tuple[int, ...]) -> list[str]:
        """The names of a stage's parts, in the order in which they are merged."""
        s = self.settings
        if stage == "stream":
            return [f"stream-{i:05d}" for i in range(len(self.shards))]
        if stage == "heads":
            return ["heads"]
        if stage == "ablations":
            return [f"ablations-{i:04d}" for i in range(-(-min(s.ablated, self.source.games) // ABLATED_AT_ONCE))]
        if stage == "rules" and s.rules != "find":
            return []
        return [f"{stage}-L{layer}" for layer in layers]

    def object(self, part: str) -> str:
        """Where a part is kept."""
        return f"work/{part}-{self._stage_key(part.partition('-')[0])}"

    def _stage_key(self, stage: str) -> str:
        s, source = self.settings, self.source
        band = (s.first_ply, s.last_ply)
        own = {
            "stream": (s.examples, s.shard_games, self.readers),
            "heads": (s.sample_games, s.seed, self.readers),
            "patterns": (s.sample_games, s.seed, s.examples),
            "rules": (s.rule_games, s.seed, s.depth, self.readers),
            "ablations": (s.shard_games, s.seed, s.ablated),
        }[stage]
        whole = (FORMAT, self.code, self.torch, self.device, self.model, source.fingerprint, source.games, source.seed)
        return _hash(*whole, band, s.batch, stage, own)

    def differs(self, other: "Plan") -> list[str]:
        """In what it differs from another that their parts could not lie together, as "games … there, … here".

        How much is sampled, ablated and searched for rules may differ: those parts have keys of their own, and the
        pass over all games serves both.
        """
        found = []
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if mine != theirs and isinstance(mine, Record):
                inner = (
                    (f.name, getattr(mine, f.name), getattr(theirs, f.name))
                    for f in fields(mine)
                    if f.name not in ADDED
                )
                found += [f"{name.replace('_', ' ')} {b} there, {a} here" for name, a, b in inner if a != b]
            elif mine != theirs and field.name != "kept_rules":
                found.append(f"{field.name.replace('_', ' ')} {theirs} there, {mine} here")
        return found


@cache
def code() -> str:
    """A hash of this package's code: what an older version left is not taken for this one's."""
    folder = Path(circuits.__file__).parent
    sources = (
        path.relative_to(folder).as_posix().encode() + path.read_bytes() for path in sorted(folder.rglob("*.py"))
    )
    return sha256(b"\0".join(sources)).hexdigest()[:16]


def shard_games(n: int) -> int:
    """Games of a shard: `SHARD_GAMES`, or more so that there are no more than `MOST_SHARDS`."""
    return max(SHARD_GAMES, -(-n // MOST_SHARDS))


def torch_version() -> str:
    return str(torch.__version__)


def _hash(*parts) -> str:
    return sha256(repr(parts).encode()).hexdigest()[:16]
