"""What ``patch`` and ``circuit`` share: where pairs come from, the metric, and the Python that does the same."""

import re
import shlex
import sys
from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer

from circuits.errors import InputError
from circuits.told import say
from reports.cli.options import count_or_file

Clean = Annotated[str | None, typer.Option(metavar="MOVES", help='The clean transcript, such as "D2 C2 E5".')]
Corrupt = Annotated[str | None, typer.Option(metavar="MOVES", help="The corrupt one, of as many moves.")]
PairsFile = Annotated[
    str | None,
    typer.Option("--pairs", metavar="FILE", help="Pairs from a file: 'clean | corrupt' a line, or a JSON list."),
]
Fact = Annotated[
    str | None,
    typer.Option(
        metavar="FACT",
        help="Pairs made so: FACT holds in the clean position only. 'C0 flipped', 'legal C0 via SE x1', '!F7 legal'.",
    ),
]
Kind = Annotated[str, typer.Option(help="How pairs of --fact differ: last-move, one-move, both or transposition.")]
Keep = Annotated[list[str] | None, typer.Option(metavar="FACT", help="A fact that holds in both; may be repeated.")]
Number = Annotated[int, typer.Option("--n", help="How many pairs of --fact, one a game.")]
Plies = Annotated[str, typer.Option(metavar="A-B", help="The plies of positions that --fact looks at.")]
Searched = Annotated[
    str | None,
    typer.Option(
        "--games", metavar="N|FILE", help="Games that --fact searches: of a file, or N random ones (default 100000)."
    ),
]
MetricOption = Annotated[
    str,
    typer.Option(
        metavar="METRIC",
        help="newly-legal, logit:C4, logprob:C4, diff:C4,D5, illegal-mass, top-n-error, 'reading:C4 mine@L5'.",
    ),
]


@dataclass(frozen=True)
class PairOptions:
    """The options that say which pairs; exactly one of a transcript pair, a file and a fact is given.

    Raises:
        InputError: none of them, or several; half a pair; plies that are no band.
    """

    clean: str | None
    corrupt: str | None
    file: str | None
    fact: str | None
    kind: str
    keep: tuple[str, ...]
    n: int
    plies: str
    games: str | None
    notation: str
    seed: int

    def __post_init__(self) -> None:
        both = self.clean is not None or self.corrupt is not None
        given = [name for name, there in (("--clean and --corrupt", both), ("--pairs", self.file is not None),
                                          ("--fact", self.fact is not None)) if there]  # fmt: skip
        if len(given) != 1:
            raise InputError(
                f"{' and '.join(given) or 'no pairs'} given: say which pairs by --clean and --corrupt, or --pairs, or "
                "--fact, one of them"
            )
        if both and (self.clean is None or self.corrupt is None):
            raise InputError(f"--{'clean' if self.corrupt is None else 'corrupt'} alone: a pair needs both transcripts")
        if self.notation not in ("ours", "standard"):
            raise InputError(f"--notation {self.notation}: it is ours or standard")
        if self.fact is not None:
            self.band()

    def band(self) -> slice:
        match = re.fullmatch(r"\s*([0-9]{1,2})\s*(?:-|–|\.\.)\s*([0-9]{1,2})\s*", self.plies)
        if not match or not int(match[1]) <= int(match[2]) <= 58:
            raise InputError(f"--plies {self.plies}: give the first and the last, within 0-58, as in 5-53")
        return slice(int(match[1]), int(match[2]) + 1)

    def read(self) -> Any:
        """The pairs."""
        from circuits.games import load
        from reports.patching import pair_sources

        if self.file is not None:
            return pair_sources.read_pairs(self.file, self.notation)
        if self.fact is None:
            return pair_sources.given_pair(self.clean, self.corrupt, self.notation)
        games: Any = pair_sources.GAMES if self.games is None else count_or_file(self.games)
        if isinstance(games, str):
            games = load(games, notation=self.notation)
        return pair_sources.pairs_for(
            self.fact, self.n, kind=self.kind, keep=self.keep, plies=self.band(), games=games, seed=self.seed
        )

    @property
    def python(self) -> str:
        """An expression that gives the same pairs."""
        noted = "" if self.notation == "ours" else f", {self.notation!r}"
        if self.file is not None:
            return f"pair_sources.read_pairs({self.file!r}{noted})"
        if self.fact is None:
            return f"pair_sources.given_pair({self.clean!r}, {self.corrupt!r}{noted})"
        text = f"pair_sources.pairs_for({self.fact!r}, {self.n}, kind={self.kind!r}"
        if self.keep:
            text += f", keep={self.keep!r}"
        band = self.band()
        if (band.start, band.stop) != (5, 54):
            text += f", plies={band!r}".replace(", None)", ")")
        if self.games is not None:
            games = count_or_file(self.games)
            loaded = f"circuits.games.load({games!r}" + (f", notation={self.notation!r})" if noted else ")")
            text += f", games={games}" if isinstance(games, int) else f", games={loaded}"
        return text + (f", seed={self.seed})" if self.seed else ")")


@dataclass(frozen=True)
class Question:
    """A model, pairs and a metric, ready; and the Python that gets them."""

    model: Any
    pairs: Any
    metric: Any
    probes: Any
    python: str


def ask(
    options: PairOptions, metric: str, model: str | None, probe: str | None, heads: int | None, act: str | None,
    device: str, random_weights: bool, need_probes: bool = False,
) -> Question:  # fmt: skip
    """Pairs first, since they are soon refused; then the model, its probes if they are needed, and the metric."""
    from circuits import plain
    from reports.patching.metric_names import needs_probes, parse_metric

    pairs = options.read()
    dropped = ""
    if metric == "newly-legal" and not bool(pairs.legal_differs.all()):
        pairs, dropped = _that_differ(pairs), "; pairs = pairs[pairs.legal_differs]"
    seed = options.seed if random_weights else None
    opened = plain.load(model, heads=heads, act=act, device=device, random_seed=seed)
    arguments = [repr(model)] if model is not None else []
    for name, value, default in (("heads", heads, None), ("act", act, None), ("device", device, "cpu"),
                                 ("random_seed", seed, None)):  # fmt: skip
        if value != default:
            arguments.append(f"{name}={value!r}")
    text = f"model = plain.load({', '.join(arguments)}); pairs = {options.python}{dropped}"
    probes = None
    if need_probes or needs_probes(metric):
        probes, how = _probes(opened, probe, options.seed, random_weights)
        text += f"; probes_ = {how}"
    return Question(
        opened, pairs, parse_metric(metric, pairs, opened, probes), probes,
        f"{text}; metric = parse_metric({metric!r}, pairs, model{', probes_' if probes is not None else ''})",
    )  # fmt: skip


def _that_differ(pairs: Any) -> Any:
    kept = pairs.legal_differs
    if not kept.any():
        raise InputError(
            f"in none of the {len(pairs)} pairs do the legal moves differ, so newly-legal has nothing to measure: give "
            "another --metric, such as logit:C4 or illegal-mass"
        )
    out = int((~kept).sum())
    say(f"{out} of {len(pairs)} pairs have the same legal moves at both ends and are left out (--metric newly-legal)")
    return replace(
        pairs[kept], source=f"{pairs.source}; {out} of {len(pairs)} left out: their legal moves are the same"
    )


def _probes(model: Any, probe: str | None, seed: int, random_weights: bool) -> tuple[Any, str]:
    import probes
    from circuits.files import cache_folder
    from probes.of_random_weights import probes_of_random_weights

    if random_weights and probe is None:
        found = probes_of_random_weights(model, seed, cache_folder())
        return found, f"probes.of_random_weights.probes_of_random_weights(model, {seed}, None)"
    return probes.load(model, probe), f"probes.load(model{'' if probe is None else f', {probe!r}'})"


def imports(*modules: str) -> str:
    """What the Python that a page names begins with."""
    names = ", ".join(("circuits.games", *modules, "probes", "reports.workbench"))
    return (
        f"import {names}; from circuits import plain; from reports.patching import pair_sources; "
        "from reports.patching.metric_names import parse_metric, parse_subspace, places_that_reach"
    )


def command() -> str:
    """What was typed, but for what only says how to show it."""
    return f"othello-circuits {shlex.join(a for a in sys.argv[1:] if a != '--json')}"
