"""A probe's reading of one square as a causal target: the log-odds of a class, at a point of the stream.

Early circuits (moves -> checkpoint) are measured with it; late ones (checkpoint -> moves) start from the directions.
"""

from circuits import notation
from circuits.causes import metrics
from circuits.causes.metrics import Metric
from circuits.errors import InputError
from probes.sets import ProbeSet


def reading(probes: ProbeSet, name: str, hook: str, task: str = "board") -> Metric:
    """The log-odds of ``"C4 mine"`` (or theirs, empty; with another task ``"C4 flipped"``) at a point.

    Args:
        hook: a residual hook for which the set has a probe of the task.

    Raises:
        InputError: no such square, class or probe.
    """
    square, _, fact = name.strip().rpartition(" ")
    index = notation.square(square) if square else None
    probe = probes[task, hook]
    classes = probe.classes
    if index is None or fact not in classes:
        raise InputError(f"{name!r} is no reading of the {task} probe: a square and one of {', '.join(classes)}")
    return metrics.reading(
        probe.weight[:, index], probe.bias[index], classes.index(fact), f"{notation.LABELS[index]} {fact}", hook
    )
