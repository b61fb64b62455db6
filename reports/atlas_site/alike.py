"""Look-alikes of many neurons at once: what `circuits.atlas.questions.like` finds for one, by matrix products.

own[n]   = (mean where square s is in state k - mean) / sd, less its mean over squares of one state, of length 1
cosine   = own[others] . image[n], the image under each map of the board that keeps the start position
"""

import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from circuits.atlas.questions import CHANCE
from circuits.atlas.squares_table import STATES
from circuits.notation import N_SQUARES
from circuits.rules.symmetry import SYMMETRIC, map_square
from reports.atlas_site.sheets import Sheets

TOP = 3


class Near(NamedTuple):
    """Under one map: the cosine that one neuron in a hundred reaches, and the nearest (unit, cosine)."""

    map: str
    chance: float
    found: tuple[tuple[str, float], ...]


class Alike:
    """All neurons of an atlas, made ready to be compared."""

    def __init__(self, sheets: Sheets):
        rows = sheets.is_neuron.nonzero()[0]
        self._at = {int(row): i for i, row in enumerate(rows)}
        self._names = [sheets.names[row] for row in rows]
        mean, sd = (sheets.column(column)[rows, None, None] for column in ("mean", "sd"))
        with np.errstate(divide="ignore", invalid="ignore"):
            own = (np.stack([sheets.squares[f"mean_{s}"][rows] for s in STATES], 1) - mean) / sd
        own = np.where(np.isfinite(own), own, np.nan)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a neuron of which nothing is known
            own = np.nan_to_num(own - np.nanmean(own, 2, keepdims=True) if len(own) else own)
        norm = np.sqrt((own**2).sum((1, 2), keepdims=True))
        self._varies = norm[:, 0, 0] > 0
        self._own = (own / np.where(norm > 0, norm, 1)).astype(np.float32)
        self._flat = np.ascontiguousarray(self._own.reshape(len(rows), -1).T)

    def of(self, rows: Sequence[int], top: int = TOP) -> list[tuple[Near, ...]]:
        """Of each unit by its row; nothing for a head and for a neuron that never varies."""
        asked = [(i, self._at[row]) for i, row in enumerate(rows) if row in self._at and self._varies[self._at[row]]]
        found: list[list[Near]] = [[] for _ in rows]
        if not asked or len(self._names) < 2:
            return [tuple(near) for near in found]
        at = np.array([n for _, n in asked])
        for name, place in SYMMETRIC.items():
            image = np.empty_like(self._own[at])
            image[:, :, [map_square(s, place) for s in range(N_SQUARES)]] = self._own[at]
            cosine = image.reshape(len(at), -1) @ self._flat
            cosine[:, ~self._varies] = -np.inf
            if name == "identity":
                cosine[np.arange(len(at)), at] = -np.inf
            for (i, _), near in zip(asked, self._nearest(name, cosine, top), strict=True):
                if near is not None:
                    found[i].append(near)
        return [tuple(near) for near in found]

    def _nearest(self, name: str, cosine: Float[np.ndarray, "asked neuron"], top: int) -> Iterator[Near | None]:
        """Of each row; what is no neuron to compare with is -inf."""
        known = int(self._varies.sum()) - (name == "identity")
        if not known:
            yield from (None for _ in cosine)
            return
        # The quantile lies between two of the highest few: these alone are sorted.
        place = CHANCE * (known - 1)
        below = known - 1 - int(place)  # how many are above the lower of the two
        kept = max(below + 1, min(top, known))
        best = np.argpartition(cosine, cosine.shape[1] - kept, axis=1)[:, cosine.shape[1] - kept :]
        for row, at in zip(cosine, best, strict=True):
            own = at[np.lexsort((at, -row[at]))]  # of equal ones the first
            low, high = row[own[below]], row[own[max(0, below - 1)]]
            chance = float(low) + (float(high) - float(low)) * (place - int(place))
            yield Near(name, chance, tuple((self._names[b], float(row[b])) for b in own[:top]))
