"""One figure of a page's top, beside its baselines."""

from collections.abc import Callable, Sequence
from typing import Any

from reports import charts
from reports.text import exact, percent


def tile(
    label: str,
    path: str,
    value: float,
    baselines: Sequence[tuple[str, float]],
    beside: str = "",
    write: Callable[[float], str] = lambda v: percent(max(0.0, v)),
) -> dict[str, Any]:
    """One figure of the top: its value, a bar with a tick at each baseline, the baselines in words."""
    return {
        "label": label,
        "path": path,
        "exact": exact(value),
        "value": write(value),
        "beside": beside,
        "bar": charts.bullet(value, [v for _, v in baselines]),
        "baselines": " · ".join(f"{name} {write(v)}" for name, v in baselines),
    }
