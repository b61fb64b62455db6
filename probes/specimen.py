"""A model as a specimen: how well it plays, how well its board is read, how crisp its neurons are. About a minute.

play        the figures of `circuits.behaviour`, over all plies and by ply
board       accuracy of linear probes after every layer: mine/theirs/empty and black/white/empty, plies 5..53,
            trained on four fifths of the games and tested on the rest, beside a constant guess: the most frequent
            state of each square at each ply
patterns    pattern neurons (`circuits.pattern_neurons`) at 0.95 and 0.9 by the released rule, as published, and by
            the strict one; and how many of the 960 patterns they cover
one fact    neurons that one fact about the board describes with a held-out skill above 0.5 and above 0.9
            (`circuits.best_facts`): F1, counted from that of a neuron that is always on

All of it on one set of random games that no model trained here has seen (`circuits.training.lessons`), so that
specimens are compared on equal terms. Hits of patterns grow with the games: compare only counts over equally many.
"""

import hashlib
import html
import json
import os
import platform
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from circuits.behaviour import PlayQuality, play_by_ply
from circuits.best_facts import best_facts
from circuits.checkpoints import weight_shapes
from circuits.errors import InputError
from circuits.features import PATTERNS
from circuits.files import write_whole
from circuits.games import MIDDLE_BAND, Games, generate
from circuits.mining import mine
from circuits.othello_model import OthelloModel
from circuits.pattern_neurons import PatternNeurons, pattern_neurons
from circuits.patterns import Gallery
from circuits.training.lessons import HELD_OUT_SEED
from probes import baselines
from probes.published import PATTERN_NEURONS, PUBLISHED
from probes.scoring import Item, count
from probes.training import train

FORMAT = "othello-circuits specimen 1"
GAMES = 1500
PLAY_GAMES, PATTERN_GAMES, FACT_GAMES = 600, 900, 300
SPLIT = {"held_out": 0.2, "seed": 0}
SKILLS = (0.5, 0.9)
TASKS = {"mine_theirs": "board", "black_white": "board_absolute"}


@dataclass(frozen=True)
class Specimen:
    """Figures of one model; a tuple has one entry per layer unless stated.

    Attributes:
        about: the model's name, hash and sizes; the games and how many each part used; versions, seconds;
            ``constant_guess``: task -> accuracy of the constant guess on the probes' held-out games (none in a file
            written before there was one).
        play: `PlayQuality`'s figures.
        play_by_ply: the same figures -> by ply, None where there is no position.
        mine_theirs, black_white: accuracies after each layer, as fractions.
        standard_error: of the mine/theirs accuracies, with games as the unit.
        patterns: threshold -> ``released`` and ``strict`` neurons per layer, and how many of the 960 patterns they
            cover: ``covered``, ``strict covered``; ``covered late`` by the layers that the published L4..L6 stand for
            (the second half without the last).
        one_fact: skill -> neurons per layer whose best fact exceeds it.
        published: what others measured on the published model, in per cent or neurons.
    """

    about: dict
    play: dict
    play_by_ply: dict
    mine_theirs: tuple
    black_white: tuple
    standard_error: tuple
    patterns: dict
    one_fact: dict
    published: dict

    def table(self) -> str:
        """Text: one line a layer under a caption, with the published model's figures beside."""
        return _table(self)

    def __repr__(self) -> str:
        layer = max(range(len(self.mine_theirs)), key=lambda i: self.mine_theirs[i])
        guess = self.about.get("constant_guess")
        beside = f" (constant guess {100 * guess['mine_theirs']:.1f})" if guess else ""
        bar, found = next(iter(self.patterns.items()))
        return (
            f"{self.about['model']}: {100 * self.play['illegal_top1']:.3f} % of first choices illegal; mine/theirs "
            f"read best after L{layer}, {100 * self.mine_theirs[layer]:.1f} %{beside};\n"
            f"{sum(found['released'])} pattern neurons at {bar}"
        )

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.table())}</pre>"

    def to_json(self, path: str | os.PathLike | None = None) -> str:
        """As JSON with a checksum, and into a file where a path is given."""
        body = asdict(self)
        content = json.dumps({"format": FORMAT, "checksum": _checksum(body), **body}, indent=1, allow_nan=False)
        if path is not None:
            with write_whole(path) as temporary:
                temporary.write_text(content + "\n", encoding="utf-8")
        return content

    @staticmethod
    def from_json(source: str | os.PathLike) -> "Specimen":
        """From a file, or from the text that `to_json` gave; equal to what was written.

        Raises:
            InputError: no such file, no specimen, or one that was damaged or edited.
        """
        is_text = isinstance(source, str) and source.lstrip().startswith("{")
        where = "the text" if is_text else os.fspath(source)
        try:
            content = json.loads(source if is_text else Path(source).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{where} is no readable specimen ({' '.join(str(error).split())})") from None
        names = {f.name for f in fields(Specimen)}
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise InputError(f"{where} is no specimen of this version: its format is not {FORMAT!r}")
        checksum = content.pop("checksum", None)
        if set(content) != names or checksum != _checksum(content):
            raise InputError(f"{where}: the figures are not those that were written: it was damaged or edited")
        return Specimen(**{name: _tuples(content[name]) for name in names})


def examine(
    model: OthelloModel,
    n_games: int = GAMES,
    *,
    play_games: int | None = None,
    pattern_games: int | None = None,
    fact_games: int | None = None,
    games_seed: int = HELD_OUT_SEED,
    progress: str | None = None,
) -> Specimen:
    """Everything in `Specimen`, in about a minute of one core for a model of 6 million parameters.

    Args:
        model: plain (`circuits.plain.load`, the faster) or a bridge.
        n_games: games for the probes, a fifth of them held out.
        play_games, pattern_games, fact_games: the first so many of them for the other parts; by default at most
            600, 900 (a third for the maxima) and 300. More games for play make its rare mistakes countable.
        games_seed: of the games.
        progress: label of the progress bars on stderr.

    Raises:
        InputError: too few games for one of the parts.
    """
    start = time.perf_counter()
    play_games, pattern_games, fact_games = (
        min(n_games, default) if given is None else given
        for given, default in ((play_games, PLAY_GAMES), (pattern_games, PATTERN_GAMES), (fact_games, FACT_GAMES))
    )
    games = generate(max(n_games, play_games, pattern_games, fact_games), games_seed)
    played = play_by_ply(model, games[:play_games], progress=_label(progress, "play"))
    found = pattern_neurons(model, games[:pattern_games], progress=_label(progress, "pattern neurons"))
    one_fact = _count_facts(model, games[:fact_games], progress)
    boards = _probe(model, games[:n_games], progress)
    guess = _constant_guess(games[:n_games])
    about = {
        "model": model.name,
        "model_hash": model.hash,
        "shape": asdict(model.shape),
        "parameters": sum(torch.Size(size).numel() for size in weight_shapes(model.shape).values()),
        "games": {"source": games.source, "seed": games_seed, "fingerprint": games.fingerprint},
        "probe_games": n_games,
        "play_games": play_games,
        "pattern_games": found[0].games,
        "maxima_games": found[0].maxima_games,
        "fact_games": fact_games,
        "constant_guess": guess,
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "device": str(model.device),
        "seconds": round(time.perf_counter() - start, 1),
    }
    return Specimen(
        about=about,
        play=played.quality().to_dict(),
        play_by_ply=played.figures(),
        **boards,
        patterns={str(p.threshold): _pattern_counts(p) for p in found},
        one_fact=one_fact,
        published=PUBLISHED | PATTERN_NEURONS,
    )


def _probe(model: OthelloModel, games: Games, progress: str | None) -> dict[str, tuple[float, ...]]:
    hooks = [f"blocks.{layer}.hook_resid_post" for layer in range(model.shape.n_layers)]
    label = _label(progress, "probes")
    probes = train(model, games, hooks=hooks, tasks_=tuple(TASKS.values()), band=MIDDLE_BAND, progress=label, **SPLIT)
    items = [Item(probes[task, hook], hook, task) for task in TASKS.values() for hook in hooks]
    counts = count(model, games.split(**SPLIT)[1], items, band=MIDDLE_BAND, progress=label)
    mine, colours = counts[: len(hooks)], counts[len(hooks) :]
    return {
        "mine_theirs": tuple(c.accuracy for c in mine),
        "black_white": tuple(c.accuracy for c in colours),
        "standard_error": tuple(c.standard_error for c in mine),
    }


def _constant_guess(games: Games) -> dict[str, float]:
    train_side, held_out = games.split(**SPLIT)
    guesses = {
        name: baselines.constant(train_side, held_out, task=task, band=MIDDLE_BAND) for name, task in TASKS.items()
    }
    return {name: guess.per_square_and_ply for name, guess in guesses.items()}


def _pattern_counts(found: PatternNeurons) -> dict[str, Any]:
    layers = len(found.released)
    late = slice(layers // 2, max(layers - 1, layers // 2 + 1))
    return {
        "released": tuple(found.released.sum(1).tolist()),
        "strict": tuple(found.strict.sum(1).tolist()),
        "covered": int(found.covered().sum()),
        "covered late": int(found.covered(late).sum()),
        "strict covered": int(found.covered(strict=True).sum()),
    }


def _count_facts(model: OthelloModel, games: Games, progress: str | None) -> dict[str, tuple[int, ...]]:
    mining = mine(model, games, sample_games=len(games), progress=_label(progress, "facts"))
    gallery = Gallery(mining, games)
    skills = [best_facts(gallery, layer).skill for layer in range(model.shape.n_layers)]
    return {str(bar): tuple(int((skill > bar).sum()) for skill in skills) for bar in SKILLS}


def _label(progress: str | None, part: str) -> str | None:
    return None if progress is None else f"{progress}: {part}"


def _table(s: Specimen) -> str:
    layers, thresholds = range(s.about["shape"]["n_layers"]), list(s.patterns)
    head = ["layer", "mine/theirs", "±", "black/white"]
    head += [f"{kind} {t}" for t in thresholds for kind in ("patterns", "strict")] + [f"fact {b}" for b in s.one_fact]
    head += ["| mine/theirs", "black/white", "patterns 0.95"]
    theirs = [s.published[k] for k in ("linear, mine/theirs", "linear, black/white", "pattern neurons at 0.95")]
    rows, guess = [head], s.about.get("constant_guess")
    if guess:
        rows.append(["guess", f"{100 * guess['mine_theirs']:.1f}", "", f"{100 * guess['black_white']:.1f}"])
        rows[-1] += [""] * (len(head) - 4)
    for i in layers:
        cells = [f"L{i}", *(f"{100 * x[i]:.{d}f}" for x, d in
                 ((s.mine_theirs, 1), (s.standard_error, 2), (s.black_white, 1)))]  # fmt: skip
        cells += [str(s.patterns[t][kind][i]) for t in thresholds for kind in ("released", "strict")]
        cells += [str(counts[i]) for counts in s.one_fact.values()]
        # The published model has eight layers; another depth has no layer to stand beside.
        cells += [str(x[i]) if len(layers) == len(x) else "-" for x in theirs]
        rows.append(cells)
    sums = [sum(s.patterns[t][kind]) for t in thresholds for kind in ("released", "strict")]
    sums += [sum(counts) for counts in s.one_fact.values()]
    rows.append(["all", "", "", "", *map(str, sums), "", "", str(sum(theirs[2]))])
    widths = [max(len(row[c]) for row in rows) for c in range(len(head))]
    lines = ["  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*_caption(s), *lines, *_coverage(s)])


def _caption(s: Specimen) -> list[str]:
    about, shape, play = s.about, s.about["shape"], PlayQuality(**s.play)
    published = s.published["illegal top-1"]
    guess = "; guess: the most frequent state of each square at each ply" if about.get("constant_guess") else ""
    return [
        f"{about['model']}: {shape['n_layers']} layers, {shape['d_model']} wide, {shape['d_mlp']} neurons a layer, "
        f"{about['parameters'] / 1e6:.1f} M parameters",
        f"play, {play.games} games: illegal first choices {100 * play.illegal_top1:.3f} % (by chance "
        f"{100 * play.chance_illegal_top1:.1f}), illegal mass {100 * play.illegal_mass:.2f} %, KL "
        f"{play.kl_to_uniform_legal:.4f}, top-N error {play.top_n_error:.3f}; published: {published} % illegal",
        f"probes after each layer, per cent of squares on held-out games of {about['probe_games']} (plies 5..53)"
        f"{guess}; pattern neurons on {about['pattern_games']} games, by the released rule and strictly; neurons "
        f"that one fact describes with a held-out skill above {' and above '.join(s.one_fact)}, {about['fact_games']} "
        "games; right of the bar the published model's (512 wide, 2048 neurons a layer)",
    ]


def _coverage(s: Specimen) -> list[str]:
    parts = [
        f"at {t}: {found['covered']} ({found['covered late']} by the later layers but the last), strictly "
        f"{found['strict covered']}"
        for t, found in s.patterns.items()
    ]
    published = s.published["patterns covered by L4-L6 at 0.9"]
    return [f"patterns covered, of {len(PATTERNS)}: {'; '.join(parts)}; published {published} by L4-L6 at 0.9"]


def _checksum(body: dict) -> str:
    # Sorted, and tuples as JSON has them, so that it is the same before and after a round trip.
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
