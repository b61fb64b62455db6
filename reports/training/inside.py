"""What was found inside finished models (`probes.specimen`): the board by layer, pattern neurons, play by ply.

Published figures stand beside ours layer by layer where the model has as many layers as the published one.
"""

from collections.abc import Sequence
from typing import Any

from circuits.features import PATTERNS
from probes.published import PATTERN_NEURONS
from probes.specimen import Specimen
from reports.curves import Curve, curves
from reports.text import count, number
from reports.training.runs import Run
from reports.training.words import guessed, guesses, share

PUBLISHED_MODEL = "the published model’s (8 layers, 512 wide, 2,048 neurons a layer)"
#: published figure -> the key under which a specimen holds it
BESIDE = {
    "mine_theirs": "linear, mine/theirs",
    "black_white": "linear, black/white",
    "patterns": "pattern neurons at 0.95",
}


def inside(runs: Sequence[Run]) -> dict[str, Any] | None:
    """The section of a page; None where no run was looked into."""
    there = [r for r in runs if r.specimen is not None]
    if not there:
        return None
    if len(runs) == 1:
        run = there[0]
        groups = [
            {"kind": "pair", "figures": [_board(there), _patterns(there)]},
            {"kind": "whole", "figures": [_by_layer(run)]},
            {"kind": "pair", "figures": [_by_ply(run, "illegal_top1"), _by_ply(run, "kl_to_uniform_legal")]},
        ]
        return {"lead": lead(run.specimen), "groups": groups}
    without = [r.name for r in runs if r.specimen is None]
    words = f"Not looked into: {', '.join(without)}." if without else "Every run’s finished model, looked into alike."
    groups = [
        {"kind": "whole", "figures": [_side_by_side(there)]},
        {"kind": "pair", "figures": [_board(there, runs), _patterns(there, runs)]},
    ]
    return {"lead": words, "groups": groups}


def lead(s: Specimen) -> str:
    """One sentence: where the board is read best, and how many neurons are pattern neurons."""
    layer = max(range(len(s.mine_theirs)), key=lambda i: s.mine_theirs[i])
    bar, found = next(iter(s.patterns.items()))
    guess = s.about.get("constant_guess")
    beside = (
        f" (a constant guess: {_percent(guess['mine_theirs'])} and {_percent(guess['black_white'])} %)" if guess else ""
    )
    neurons, total = sum(found["released"]), len(s.mine_theirs) * s.about["shape"]["d_mlp"]
    are = "is a pattern neuron" if neurons == 1 else "are pattern neurons"
    return (
        f"A linear probe reads the board best after L{layer}: {_percent(s.mine_theirs[layer])} % of squares as mine, "
        f"theirs or empty, and {_percent(s.black_white[layer])} % as black, white or empty{beside}. "
        f"{count(neurons)} of its {count(total)} neurons {are} at {bar} ({count(sum(found['strict']))} strictly)."
    )


def _python(runs: Sequence[Run], call: str) -> str:
    """The line that draws it: ``call`` with the folders put first."""
    given = repr(runs[0].path) if len(runs) == 1 else repr([r.path for r in runs])
    return f"from reports.training import figures as training_figures; training_figures.{call.format(given)}"


def _tables(runs: Sequence[Run]) -> str:
    given = repr([r.path for r in runs])
    return f"from reports.training.runs import read_runs; [r.specimen.table() for r in read_runs({given})]"


def _percent(v: float) -> str:
    return f"{100 * v:.1f}"


def _published(s: Specimen, what: str) -> tuple | None:
    """The published figures by layer, where the layers can stand beside one another."""
    values = s.published.get(BESIDE[what])
    return values if values is not None and len(values) == len(s.mine_theirs) else None


def _layers(name: str, lines: Sequence[Curve], label: str, log_y: bool = False, levels: Sequence = ()):
    most = max(len(c.x) for c in lines)
    marks = [float(i) for i in range(0, most, -(-most // 12))]
    return curves(name, lines, "after layer" if name == "board" else "layer", label, log_y=log_y, x_marks=marks,
                  levels=levels, write_x=lambda v: f"L{v:.0f}")  # fmt: skip


def _line(name: str, kind: str, values: Sequence[float | int], dots: bool = True) -> Curve:
    return Curve(name, kind, [float(i) for i in range(len(values))], [float(v) for v in values], dots=dots)


def _kind(run: Run, runs: Sequence[Run]) -> str:
    return f"run{next(i for i, r in enumerate(runs) if r is run)}"


def _probed(s: Specimen) -> str:
    games = s.about["probe_games"]
    return (
        f"Squares that a linear probe reads rightly after each layer, per cent; trained on four fifths of "
        f"{count(games)} random games, tested on the rest, plies 5…53."
    )


def _board(there: Sequence[Run], runs: Sequence[Run] = ()) -> dict[str, Any]:
    """Probe accuracy by layer."""
    s = there[0].specimen
    said, key = [_probed(s)], []
    if runs:
        lines = [_line(r.name, _kind(r, runs), [100 * v for v in r.specimen.mine_theirs]) for r in there]
        said[0] = said[0].replace("Squares", "Squares (mine, theirs, empty)")
        rows = [(r.name, f"L{i}", _percent(v)) for r in there for i, v in enumerate(r.specimen.mine_theirs)]
        table = {"head": ("run", "after", "mine/theirs"), "rows": rows}
        key = [(_kind(r, runs), r.name) for r in there]
    else:
        lines = [
            _line("mine/theirs", "held", [100 * v for v in s.mine_theirs]),
            _line("black/white", "train", [100 * v for v in s.black_white]),
        ]
        key = [("held", "mine/theirs/empty"), ("train", "black/white/empty")]
        beside = [(name, _published(s, name)) for name in ("mine_theirs", "black_white")]
        for name, values in beside:
            if values:
                lines.append(_line(f"published {name.replace('_', '/')}", "pub", values, dots=False))
        if any(values for _, values in beside):
            key.append(("pub", "published, both"))
            said.append(f"Dashed: {PUBLISHED_MODEL}.")
        rows = [
            (f"L{i}", _percent(m), f"{100 * e:.2f}", _percent(b))
            for i, (m, e, b) in enumerate(zip(s.mine_theirs, s.standard_error, s.black_white, strict=True))
        ]
        table = {"head": ("after", "mine/theirs", "standard error", "black/white"), "rows": rows}
        said.append("The standard error in the numbers has games as its unit.")
    levels = [(float(v), f"constant guess {v}") for v in guesses(there)]
    return {
        "title": "How well the board is read",
        "chart": _layers("board", lines, "per cent of squares", levels=levels),
        "key": key,
        "caption": " ".join(said) + guessed(there),
        "table": table,
        "python": _python(there, "board({})"),
    }


def _patterns(there: Sequence[Run], runs: Sequence[Run] = ()) -> dict[str, Any]:
    """Pattern neurons by layer."""
    s = there[0].specimen
    bar = next(iter(s.patterns))
    said = [
        f"Neurons that fire when, and only when, one way of making one move legal holds, at {bar}, on "
        f"{count(s.about['pattern_games'])} games. 0 lies on the lower edge."
    ]
    if runs:
        lines = [_line(r.name, _kind(r, runs), r.specimen.patterns[bar]["released"]) for r in there]
        rows = [(r.name, f"L{i}", count(n)) for r in there for i, n in enumerate(r.specimen.patterns[bar]["released"])]
        key, head = [(_kind(r, runs), r.name) for r in there], ("run", "layer", f"pattern neurons at {bar}")
        said.append("By the released code’s rule.")
    else:
        found, published = s.patterns[bar], _published(s, "patterns")
        lines = [_line("released rule", "held", found["released"]), _line("strict", "run1", found["strict"])]
        key = [("held", "released code’s rule"), ("run1", "strict rule")]
        if published:
            lines.append(_line("published", "pub", published, dots=False))
            key.append(("pub", "published"))
            said.append(f"Dashed: {PUBLISHED_MODEL}.")
        said.append("Strict: recall and precision at one and the same threshold, and no position counted twice.")
        rows = [
            (f"L{i}", count(a), count(b))
            for i, (a, b) in enumerate(zip(found["released"], found["strict"], strict=True))
        ]
        head = ("layer", "released rule", "strict")
    return {
        "title": "Pattern neurons",
        "chart": _layers("patterns", lines, "neurons (log scale)", log_y=True),
        "key": key,
        "caption": " ".join(said),
        "table": {"head": head, "rows": rows},
        "python": _python(there, "patterns({})"),
    }


def _by_layer(run: Run) -> dict[str, Any]:
    """All figures by layer, the published ones beside."""
    s: Specimen = run.specimen
    bars, facts = list(s.patterns), list(s.one_fact)
    published = {name: _published(s, name) for name in BESIDE}
    columns: list[tuple[str, Sequence[str], str]] = []  # head, by layer, all layers

    def add(head: str, values: Sequence[int | float], write, total: bool, beside: str | None = None) -> None:
        columns.append((head, [write(v) for v in values], count(sum(values)) if total else ""))
        theirs = published.get(beside)
        if theirs is not None:
            columns.append(("published", [str(v) for v in theirs], count(sum(theirs)) if total else ""))

    add("mine/theirs", s.mine_theirs, _percent, False, "mine_theirs")
    add("black/white", s.black_white, _percent, False, "black_white")
    for bar in bars:
        add(f"patterns {bar}", s.patterns[bar]["released"], count, True, "patterns" if bar == "0.95" else None)
        add(f"strict {bar}", s.patterns[bar]["strict"], count, True)
    for fact in facts:
        add(f"fact > {fact}", s.one_fact[fact], count, True)
    head = ["layer", *(name for name, _, _ in columns)]
    rows = [[f"L{i}", *(values[i] for _, values, _ in columns)] for i in range(len(s.mine_theirs))]
    if guess := s.about.get("constant_guess"):
        cells = {"mine/theirs": _percent(guess["mine_theirs"]), "black/white": _percent(guess["black_white"])}
        rows.insert(0, ["guess", *(cells.get(name, "") for name in head[1:])])
    rows.append(["all", *(total for _, _, total in columns)])
    covered = "; ".join(f"at {b}: {count(s.patterns[b]['covered'])} (strictly {count(s.patterns[b]['strict covered'])})"
                        for b in bars)  # fmt: skip
    caption = (
        f"Per cent of squares read rightly{', first by a constant guess' if guess else ''}; neurons of "
        f"{count(s.about['shape']['d_mlp'])} a layer. Of the {len(PATTERNS)} patterns they cover {covered}; "
        f"published, L4–L6 at 0.9: {PATTERN_NEURONS['patterns covered by L4-L6 at 0.9']}. Fact: one fact about the "
        f"board describes the neuron with a held-out skill above that, on {count(s.about['fact_games'])} games; skill "
        "counts F1 from that of a neuron that is always on."
    )
    if not any(published.values()):
        total = sum(s.published[BESIDE["patterns"]])
        best = [max(s.published[BESIDE[name]]) for name in ("mine_theirs", "black_white")]
        caption += (
            f" Published for 8 layers of 512, best layer: mine/theirs {best[0]}, black/white {best[1]}; {total} "
            "pattern neurons at 0.95."
        )
    return {
        "title": "By layer",
        "chart": None,
        "key": [],
        "caption": caption,
        "table": {"head": head, "rows": rows},
        "python": _tables([run]),
    }


def _by_ply(run: Run, name: str) -> dict[str, Any]:
    """A figure of play by ply."""
    s: Specimen = run.specimen
    per_cent = name == "illegal_top1"
    title = "Illegal first choices by ply" if per_cent else "Distance to the best prediction by ply"
    label = "per cent of positions" if per_cent else "KL in nats"
    scale = 100.0 if per_cent else 1.0
    known = [(float(t), scale * v) for t, v in enumerate(s.play_by_ply[name]) if v is not None]
    x, y = [t for t, _ in known], [v for _, v in known]
    mean = s.play[name]
    chart = curves(
        f"by_ply_{name}", [Curve("this model", "held", x, y)], "ply", label,
        levels=[(scale * mean, f"mean {share(mean) if per_cent else number(mean)}")], write_x=lambda v: f"{v:.0f}",
    )  # fmt: skip
    chance = s.play["chance_illegal_top1" if per_cent else "chance_kl"]
    caption = (
        f"{count(s.play['positions'])} positions of {count(s.play['games'])} random games, never trained on; ply t is "
        f"the state after t + 1 moves. Dashed: the mean over all positions; a uniform guess: "
        f"{share(chance) if per_cent else number(chance)}."
    )
    rows = [(f"{t:.0f}", number(v, 4)) for t, v in known]
    return {
        "title": title,
        "chart": chart,
        "key": [],
        "caption": caption,
        "table": {"head": ("ply", label), "rows": rows},
        "python": _python([run], f'by_ply({{}}, "{name}")'),
    }


def _side_by_side(there: Sequence[Run]) -> dict[str, Any]:
    """A line for each model."""
    first: Specimen = there[0].specimen
    bars = list(first.patterns)
    head = ["run", "after", "mine/theirs", "black/white"]
    head += [f"{kind} {bar}" for bar in bars for kind in ("patterns", "strict")]
    head += [f"covered {bars[-1]}"] + [f"fact > {b}" for b in first.one_fact]
    rows = []
    for run in there:
        s: Specimen = run.specimen
        best = max(range(len(s.mine_theirs)), key=lambda i: s.mine_theirs[i])
        row = [run.name, f"L{best}", _percent(s.mine_theirs[best]), _percent(s.black_white[best])]
        row += [count(sum(s.patterns[bar][kind])) for bar in bars for kind in ("released", "strict")]
        row += [count(s.patterns[bars[-1]]["covered"])] + [count(sum(c)) for c in s.one_fact.values()]
        rows.append(row)
    caption = (
        "Per cent of squares read rightly after the layer where mine/theirs is read best; pattern neurons of all "
        f"layers by the released code’s rule and strictly; how many of the {len(PATTERNS)} patterns they cover; "
        "neurons that one fact about the board describes with a skill above that. Counts grow with the games looked "
        "at: compare models looked at alike." + guessed(there)
    )
    return {
        "title": "Side by side",
        "chart": None,
        "key": [],
        "caption": caption,
        "table": {"head": head, "rows": rows},
        "python": _tables(there),
    }
