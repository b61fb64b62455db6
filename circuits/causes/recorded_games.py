"""Games run once, from which many causal questions about single positions are then answered cheaply.

The stream in front of and in the middle of every block is kept, with keys and values, `CHUNK` games at a time and only
when they are first needed: 1.8 MB a game in the bundled model. From there

    `rerun`      resumes at one position with a changed stream: its earlier plies stay as they were, so only that
                 position's own stream is computed, for any number of changes at once
    `pair_runs`  runs both transcripts of counterfactual pairs whose clean games are among these: until the first move
                 that differs both are the recorded game, so only the plies from there on are computed
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor

from circuits.causes.incremental import Recording, mlp, normalised, record
from circuits.causes.nodes import Node
from circuits.causes.pair_runs import Chunk, Run, Window
from circuits.causes.pairs import Pairs
from circuits.errors import InputError
from circuits.games import Games
from circuits.othello_model import OthelloModel
from circuits.plain import of

#: games recorded at once
CHUNK = 25
#: pairs run at once
ROWS = 64


class RecordedGames:
    """A model's run of some games, made piece by piece as it is asked for.

    Attributes:
        model: in plain torch.
        games: what is run; plies: how many plies of them.
    """

    def __init__(self, model: OthelloModel, games: Games, plies: int):
        self.model, self.games, self.plies = of(model), games, plies
        self._chunks: dict[int, Recording] = {}

    def _piece(self, kind: str, layer: int, row: int) -> Tensor:
        chunk, inside = divmod(row, CHUNK)
        if chunk not in self._chunks:
            rows = slice(chunk * CHUNK, (chunk + 1) * CHUNK)
            with torch.no_grad():
                made = record(self.model, self.games.inputs[rows, : self.plies], heads=False)
            self._chunks[chunk] = replace(made, q=[])
        return getattr(self._chunks[chunk], kind)[layer][inside]

    def rows(self, game: Int[Tensor, "n"]) -> list[int]:
        """Rows of games by their numbers.

        Raises:
            InputError: one is not among these games.
        """
        place = {number: row for row, number in enumerate(self.games.ids.tolist())}
        missing = [number for number in game.tolist() if number not in place]
        if missing:
            raise InputError(f"game {missing[0]} is not among the {len(self.games)} recorded games")
        return [place[number] for number in game.tolist()]

    def stream(self, kind: str, layer: int, at: "Positions") -> Float[Tensor, "position d_model"]:
        """The stream ``"pre"`` (of block ``layer``, or behind the last one) or ``"mid"`` at some positions."""
        return torch.stack([self._piece(kind, layer, row)[ply] for row, ply in at.places])

    def past(self, layer: int, rows: list[int], plies: int) -> tuple[Tensor, Tensor]:
        """Keys and values [row, head, ply, d_head] of the first plies."""
        k, v = (torch.stack([self._piece(kind, layer, row)[:plies] for row in rows]) for kind in "kv")
        return tuple(rearrange(t, "row ply head d_head -> row head ply d_head") for t in (k, v))


@dataclass(frozen=True, eq=False)
class Positions:
    """Positions of recorded games: row among them, and ply, of each."""

    row: Int[Tensor, "position"]
    ply: Int[Tensor, "position"]

    @property
    def places(self) -> list[tuple[int, int]]:
        return list(zip(self.row.tolist(), self.ply.tolist(), strict=True))

    def __len__(self) -> int:
        return len(self.row)


@torch.no_grad()
def rerun(
    recorded: RecordedGames,
    at: Positions,
    layer: int,
    x: Float[Tensor, "variant position d_model"],
    watch: Float[Tensor, "position d_model"] | None = None,
) -> tuple[Float[Tensor, "variant position d_model"], dict[str, Float[Tensor, "variant position"]]]:
    """The final stream at each position, for changed streams entering block ``layer`` there.

    Args:
        x: the changed streams; the plies before each position are those of the recorded game.
        watch: vectors to read later parts' writing with.

    Returns:
        the final stream; by later part (``"L3 attn"``) the change of ``watch . what it writes``, if asked for.
    """
    model, s = recorded.model, recorded.model.shape
    rows, plies = at.row.tolist(), int(at.ply.max()) + 1
    earlier = (torch.arange(plies) < at.ply[:, None]).to(x.device)
    changes: dict[str, Tensor] = {}

    def note(node: Node, written: Tensor, before: Tensor) -> None:
        changes[str(node)] = einsum(
            written - before, watch, "variant position d_model, position d_model -> variant position"
        )

    for block in range(layer, s.n_layers):
        W, b = model._qkv[block]
        q, k, v = F.linear(normalised(x, s.eps), W.T, b).unflatten(-1, (3, s.n_heads, s.d_head)).unbind(-3)
        q = q * s.d_head**-0.5
        old_k, old_v = recorded.past(block, rows, plies)
        old = einsum(q, old_k, "variant position head d, position head ply d -> variant position head ply")
        old = old.masked_fill(~earlier[None, :, None], float("-inf"))
        pattern = torch.cat([old, (q * k).sum(-1, keepdim=True)], -1).softmax(-1)
        z = einsum(
            pattern[..., :-1], old_v, "variant position head ply, position head ply d -> variant position head d"
        )
        z = z + pattern[..., -1:] * v
        written = F.linear(z.flatten(-2), model.W_O(block).flatten(0, 1).T, model.b_O(block))
        mid = x + written
        after = mlp(model, block, mid)
        if watch is not None:
            was = [recorded.stream(*place, at) for place in (("pre", block), ("mid", block), ("pre", block + 1))]
            note(Node("attn", block), written, was[1] - was[0])
            note(Node("mlp", block), after - mid, was[2] - was[1])
        x = after
    return x, changes


@dataclass(frozen=True, eq=False)
class PairRuns:
    """Both runs of some pairs from their first difference on: ``chunk.base`` is the corrupt one."""

    chunk: Chunk
    clean: Run

    @property
    def window(self) -> Window:
        return self.chunk.window

    @property
    def swapped(self) -> "PairRuns":
        """The clean run as the base."""
        return PairRuns(replace(self.chunk, base=self.clean), self.chunk.base)


@torch.no_grad()
def pair_runs(recorded: RecordedGames, pairs: Pairs) -> Iterator[PairRuns]:
    """Run pairs to the end of the model, those of like windows together.

    Raises:
        InputError: a pair's clean game is none of those recorded, or another transcript than it.
    """
    rows = recorded.rows(pairs.game)
    used = torch.arange(60) <= pairs.ply[:, None]
    if (wrong := ((recorded.games.tokens[rows] * used) != pairs.clean).any(1)).any():
        i = int(wrong.nonzero()[0])
        raise InputError(f"pair {i}: its clean transcript is not that of recorded game {int(pairs.game[i])}")
    n = recorded.model.shape.n_layers
    for window in _windows(pairs):
        chosen = [rows[pair] for pair in window.pair.tolist()]
        before = int(window.start.max())
        past = [recorded.past(layer, chosen, before) for layer in range(n)] if before else []
        chunk = Chunk(recorded.model, window, _nothing(), past, None)
        clean, corrupt = (chunk.run(t[window.pair], 2 * n) for t in (pairs.clean, pairs.corrupt))
        yield PairRuns(replace(chunk, base=corrupt), clean)


@dataclass(frozen=True, eq=False)
class Paired:
    """Pairs with both runs of each, made once for many questions."""

    pairs: Pairs
    runs: list[PairRuns]

    @staticmethod
    def of(recorded: RecordedGames, pairs: Pairs) -> "Paired":
        """Raises: as `pair_runs`."""
        return Paired(pairs, list(pair_runs(recorded, pairs)))

    @property
    def swapped(self) -> "Paired":
        """The clean runs as the base."""
        return Paired(self.pairs, [run.swapped for run in self.runs])

    def gather(self, of: Callable[[PairRuns], Float[Tensor, "... row"]]) -> Float[Tensor, "... pair"]:
        """A quantity [..., row] of every run, as [..., pair]."""
        found = [of(run) for run in self.runs]
        whole = torch.empty(*found[0].shape[:-1], len(self.pairs))
        for run, values in zip(self.runs, found, strict=True):
            whole[..., run.window.pair] = values.cpu()
        return whole


def _windows(pairs: Pairs) -> Iterator[Window]:
    """At most `ROWS` pairs at a time, in windows at most twice as wide as the narrowest of them needs."""
    length = pairs.ply - pairs.first + 1
    order = (length * 64 + pairs.ply).argsort(stable=True)
    at = 0
    while at < len(order):
        inside = order[at : at + ROWS]
        chosen = inside[length[inside] <= 2 * length[inside[0]]]
        at += len(chosen)
        width = int(length[chosen].max())
        start = (pairs.ply[chosen] - width + 1).clamp_min(0)
        yield Window(chosen, start, pairs.ply[chosen] - start, width)


def _nothing() -> Run:
    return Run(torch.empty(0, 0, 0), [], [], [], [], [], [])
