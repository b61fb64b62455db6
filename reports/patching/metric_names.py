"""Metrics by name, as the command line and pages write them.

    newly-legal               the moves legal in the clean position only, less those legal in the corrupt one only
    logit:C4  logprob:C4      one move's logit, or log-probability
    diff:C4,D5                the logit of one move less that of another
    illegal-mass  top-n-error against the clean position's legal moves; ``illegal-mass:corrupt`` the corrupt one's
    reading:C4 mine@L5        a probe's log-odds, after layer 5; ``@L5 mid`` between its attention and its MLP
    coordinate:C4 mine@L5     the coordinate on the probe's unit direction

Each is one function of `circuits.causes.metrics`; what is read with a probe takes the probe of the point named.
"""

import re
from collections.abc import Sequence

from circuits.causes import metrics
from circuits.causes.changes import Place, Subspace, check_reach, lands, places
from circuits.causes.incremental import read_point
from circuits.causes.metrics import Metric
from circuits.causes.nodes import HOOK
from circuits.causes.pairs import Pairs
from circuits.errors import InputError
from circuits.notation import LABELS, square
from circuits.othello_model import OthelloModel
from circuits.plain import of
from probes.sets import ProbeSet
from probes.tasks import BINARY, TASKS

FORMS = (
    "newly-legal, logit:C4, logprob:C4, diff:C4,D5, illegal-mass, top-n-error, 'reading:C4 mine@L5' or "
    "'coordinate:C4 mine@L5'"
)


def needs_probes(text: str) -> bool:
    """Whether a metric of this name is read with a probe."""
    return text.partition(":")[0].strip().lower() in ("reading", "coordinate")


def parse_metric(text: str, pairs: Pairs, model: OthelloModel, probes: ProbeSet | None = None) -> Metric:
    """A metric from its name.

    Args:
        probes: for readings and coordinates.

    Raises:
        InputError: no such metric, square, fact or layer; no probe at that point; pairs in which it cannot be measured.
    """
    kind, _, rest = (part.strip() for part in text.partition(":"))
    kind = kind.lower()
    if kind == "newly-legal" and not rest:
        return metrics.newly_legal(pairs)
    if kind in ("illegal-mass", "top-n-error"):
        make = metrics.illegal_mass if kind == "illegal-mass" else metrics.top_n_error
        return make(pairs, rest.lower() or "clean")
    if kind in ("logit", "logprob") and rest:
        return (metrics.logit if kind == "logit" else metrics.log_probability)(rest)
    if kind == "diff" and rest.count(",") == 1:
        return metrics.logit_difference(*rest.split(","))
    if needs_probes(text) and rest:
        fact, point = fact_at(rest, model, text)
        if probes is None:
            raise InputError(f"{text!r} is read with a probe, and none were given")
        if kind == "coordinate":
            return metrics.coordinate(probes.directions(point, (task_of(fact, text),)), fact)
        return reading(probes, fact, point, text)
    raise InputError(f"{text!r} is no metric: write {FORMS}")


def reading(probes: ProbeSet, fact: str, point: str, text: str = "") -> Metric:
    """The log-odds of a fact such as ``"C4 mine"`` by the probe of a point.

    Raises:
        InputError: no such fact, or no such probe.
    """
    task = task_of(fact, text or fact)
    probe = probes[task, point]
    place, _, name = fact.partition(" ")
    which = probe.classes.index("yes" if task in BINARY else name)
    at = square(place)
    return metrics.reading(probe.weight[:, at], probe.bias[at], which, f"{fact} {point_words(point)}", point)


def task_of(fact: str, text: str) -> str:
    """The probe task that knows a fact."""
    name = fact.rpartition(" ")[2]
    for task, classes in TASKS.items():
        if name == task or (task not in BINARY and name in classes):
            return task
    known = [*TASKS["board"], *TASKS["board_absolute"][1:], *BINARY]
    raise InputError(f"{text!r}: no probe reads {name!r}; they read {', '.join(known)}")


def fact_at(text: str, model: OthelloModel, whole: str) -> tuple[str, str]:
    """``"c4 mine@L5 mid"`` -> ("C4 mine", "blocks.5.hook_resid_mid").

    Raises:
        InputError: another form, no such square or layer.
    """
    fact, at, place = text.partition("@")
    words = fact.split()
    if not at or len(words) != 2:
        raise InputError(f"{whole!r}: write a square, a fact and a layer, as in 'C4 mine@L5' or 'C4 mine@L5 mid'")
    return f"{LABELS[square(words[0])]} {words[1].lower()}", parse_point(place, model, whole)


def parse_point(text: str, model: OthelloModel, whole: str) -> str:
    """``"L5"`` or ``"L5 post"``, ``"L5 mid"``, ``"L5 pre"`` as a hook that probes read.

    A layer's pre is the post of the one before.

    Raises:
        InputError: another form, or a layer that the model does not have.
    """
    match = re.fullmatch(r"l([0-9]{1,4})(pre|mid|post)?", "".join(text.split()).lower())
    if not match:
        raise InputError(f"{whole!r}: {text.strip()!r} is no point of the stream: write L5, L5 mid or L5 pre")
    layer, where = int(match[1]), match[2] or "post"
    if layer >= model.shape.n_layers:
        raise InputError(f"{whole!r}: there is no layer {layer}; this model has layers 0..{model.shape.n_layers - 1}")
    if where == "pre" and layer:
        layer, where = layer - 1, "post"
    return f"blocks.{layer}.hook_resid_{where}"


def places_that_reach(model: OthelloModel, what: Sequence[str], metric: Metric) -> tuple[Place, ...]:
    """Places by kind or name; a kind stands for those of its places from which something reaches the metric.

    Raises:
        InputError: as `circuits.causes.patching.places`; a place named that does not reach the metric; none left of a
        kind.
    """
    plain_model, found = of(model), []
    for item in what:
        named = places(model, [item])
        if item not in HOOK or item == "embed":
            check_reach(named[0], metric.point, plain_model)
        reaching = [place for place in named if lands(place, plain_model) <= read_point(plain_model, metric.point)]
        if not reaching:
            check_reach(named[0], metric.point, plain_model)
        found += reaching
    return places(model, found)


def point_words(point: str) -> str:
    """``"blocks.5.hook_resid_mid"`` -> ``"at L5 mid"``; the logits have no words."""
    parts = point.split(".")
    return "" if len(parts) < 3 else f"at L{parts[1]} {parts[2].rpartition('_')[2]}"


def parse_subspace(text: str, model: OthelloModel, probes: ProbeSet) -> Subspace:
    """The span of probe directions: ``"C0 mine, D1 mine @ L4"``.

    Raises:
        InputError: another form, no such direction or layer, no probe at that point.
    """
    names, at, place = text.rpartition("@")
    if not at or not names.strip():
        raise InputError(f"{text!r} names no subspace: write directions and a layer, as in 'C0 mine,D1 mine@L4'")
    point = parse_point(place, model, text)
    facts = []
    for item in names.split(","):
        words = item.split()
        if len(words) != 2:
            raise InputError(f"{text!r}: {item.strip()!r} is no direction: write a square and a fact, as in 'C0 mine'")
        facts.append(f"{LABELS[square(words[0])]} {words[1].lower()}")
    if len(set(facts)) < len(facts):
        raise InputError(f"{text!r} names a direction twice")
    tasks = tuple(dict.fromkeys(task_of(fact, text) for fact in facts))
    return Subspace.of(probes.directions(point, tasks), facts)
