"""What a page says of a training run, drawn from its numbers: sentences, times, shares, settings."""

from collections.abc import Sequence
from typing import Any

from circuits.training.config import LEARNING_RATES, WEIGHT_DECAYS, TrainConfig
from reports.headline import listed
from reports.text import count, number
from reports.training.runs import Run, uniform_guess


def games_words(n: int | float) -> str:
    """ "99,968 games", "1 game", "1.0 M games"."""
    if n >= 999_500:
        return f"{n / 1e6:,.1f} M games"
    return f"{count(int(n))} game{'s' * (int(n) != 1)}"


def duration(seconds: int | float) -> str:
    """ "45 seconds", "3.35 minutes", "71.1 hours"."""
    for unit, name in ((3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{number(seconds / unit)} {name}"
    return f"{seconds:.0f} seconds"


def share(v: int | float) -> str:
    """A share as a percentage of two digits, three above 99.5: "0.41 %", "0.0083 %", "73 %"."""
    return f"{number(100 * v, 2 if v < 0.995 else 3)} %"


def sentence(run: Run) -> str:
    """One plain sentence or two on a run, drawn from its log."""
    e, planned = run.evaluation, run.config["games"]
    done = f"{games_words(run.games).rpartition(' ')[0]} of {games_words(planned)}"
    opening = {
        "finished": f"Finished after {done}. " if run.shown < run.games else "",
        "stopped early": f"Stopped early after {done}. ",
        "interrupted": f"Interrupted after {done}. ",
        "leg ended": f"Not finished: {done} so far, in {legs_words(run)}. ",
        "nan": f"Ended at step {_broken_step(run)}, after {done}, with a loss that is no number. ",
        "under way": f"Not finished: {done} so far; still under way, or killed. ",
    }[run.state]
    if e is None:
        over = run.ended or run.state == "nan"
        return f"{opening}It was not evaluated on held-out games{'' if over else ' yet'}.".strip()
    top1 = e["illegal_top1"]
    made = "none" if top1 == 0 else share(top1)
    if run.ended and run.shown < run.games:
        when = f"Its weights after {games_words(run.shown)}, where the held-out loss was lowest, were kept: with them"
    else:
        when = f"{'At the last evaluation, after' if opening else 'After'} {games_words(e['games'])},"
    text = (
        f"{opening}{when} {made} of its first choices "
        f"{'is' if top1 == 0 else 'are'} illegal on {count(int(e['eval_games']))} held-out games"
    )
    tail = f"; {share(e['illegal_mass'])} of its probability lies on illegal moves"
    if run.random_games:
        tail += f" (a uniform guess: {share(uniform_guess()['illegal_mass'])})"
    return text + tail + "."


def comparison(runs: Sequence[Run]) -> str:
    """Which of several runs plays best and which worst."""
    known = [(r.evaluation["illegal_top1"], r) for r in runs if r.evaluation is not None]
    if len(known) < 2:
        return "Fewer than two of these runs were evaluated on held-out games."
    known.sort(key=lambda pair: pair[0])
    (least, best), (most, worst) = known[0], known[-1]

    def after(run: Run) -> str:
        return games_words(run.evaluation["games"])

    text = (
        f"Fewest illegal first choices: {best.name}, {share(least)} after {after(best)}; "
        f"most: {worst.name}, {share(most)} after {after(worst)}."
    )
    if any(not r.ended for r in runs):
        text += f" Not finished: {', '.join(r.name for r in runs if not r.ended)}."
    return text


def dropout_words(run: Run) -> str:
    """ "with dropout on", "with dropout on for the first 65 % of the run"; nothing where it was never on."""
    until = run.config.get("dropout_until", 1.0)
    if not run.config.get("dropout") or until <= 0:
        return ""
    return "with dropout on" + (f" for the first {number(100 * until)} % of the run" if until < 1 else "")


def guesses(there: Sequence[Run], task: str = "mine_theirs") -> tuple[str, ...]:
    """Accuracies of the probes' constant guess in per cent; none for specimens written before it was measured."""
    known = [r.specimen.about.get("constant_guess") for r in there if r.specimen is not None]
    return tuple(sorted({f"{100 * g[task]:.1f}" for g in known if g}))


def guessed(there: Sequence[Run]) -> str:
    """What the constant guess is, and how good."""
    mine, colours = guesses(there), guesses(there, "black_white")
    if not mine:
        return ""
    words = f"{listed(mine)} (black/white {listed(colours)})"
    return f" Constant guess, the most frequent state of each square at each ply: {words}."


def legs_words(run: Run) -> str:
    """ "one leg", "3 legs"."""
    n = 1 + len(run.legs)
    return "one leg" if n == 1 else f"{n} legs"


def _broken_step(run: Run) -> str:
    last = next((e for e in reversed(run.events) if e["what"] == "nan"), None)
    if last is None:
        return ""
    return count(last["at"] if isinstance(last.get("at"), int) else int(last["step"]))


def status(run: Run) -> str:
    """How long it took, on what."""
    words = f"{duration(run.seconds)} in {legs_words(run)} on {run.about.get('machine', 'an unstated machine')}"
    if run.seconds > 0:
        words += f"; {number(run.games / run.seconds, 3)} games a second over all, evaluations counted"
    return words + "."


def sizes(run: Run) -> str:
    """The model's sizes: "8 layers, 512 wide, 8 heads, 2,048 neurons a layer, gelu"."""
    s = run.config["shape"]
    layers = s["n_layers"] + (run.config.get("add_layers") or 0)
    act = f", {s['act']}" if "act" in s else ""
    return f"{layers} layers, {s['d_model']} wide, {s['n_heads']} heads, {count(s['d_mlp'])} neurons a layer{act}"


def eyebrow(run: Run) -> str:
    games = "random games" if run.random_games else "games of a file"
    return f"Training run · {sizes(run)} · {run.config.get('objective', 'unstated')} objective · {games}"


def flat_settings(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with the sizes beside the other settings."""
    shape = config.get("shape")
    sizes = shape if isinstance(shape, dict) else {}
    return {**{f"shape.{k}": v for k, v in sizes.items()}, **{k: v for k, v in config.items() if k != "shape"}}


def setting(config: dict[str, Any], name: str, value: Any) -> str:
    """A setting as a person reads it; one left open that follows from the optimiser as what it came to."""
    if value is None:
        optimiser = config.get("optimiser")
        rest = LEARNING_RATES["rest"] if optimiser == "muon" else config.get("lr") or LEARNING_RATES.get(optimiser)
        came_to = {
            "lr": LEARNING_RATES.get(optimiser),
            "lr_rest": rest,
            "weight_decay": WEIGHT_DECAYS.get(optimiser),
        }.get(name)
        return "none given" if came_to is None else f"{came_to} (of {optimiser})"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def settings(run: Run) -> dict[str, Any]:
    """Every setting with its default: first those that were changed."""
    here, plain = flat_settings(run.config), flat_settings(TrainConfig().to_dict())
    changed, kept = [], []
    for name, value in here.items():
        words = setting(run.config, name, value)
        default = plain.get(name)
        same = name in plain and (list(value) if isinstance(value, tuple) else value) == (
            list(default) if isinstance(default, tuple) else default
        )
        if same:
            kept.append((name, words))
        else:
            changed.append((name, words, setting(plain, name, default) if name in plain else "unknown here"))
    return {"changed": changed, "kept": kept}
