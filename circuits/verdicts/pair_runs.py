"""Both runs of many counterfactual pairs, kept at the position asked about alone.

Pairs that toggle the facts of one rule share clean games, and a corrupt transcript agrees with its clean one up to its
first difference. So of clean transcripts that begin alike only the longest is run, and of a corrupt one only the plies
from the first difference on, against the keys and values of the clean run (`circuits.causes.pair_runs`). What is kept,
about 60 kB a run of the bundled model, is what every sender writes at the last ply and what every receiver reads there.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int, Integer, UInt8
from torch import Tensor

from circuits.causes.pair_runs import Chunk, Run, Window, windows
from circuits.causes.pairs import Pairs
from circuits.plain import PlainModel

#: clean transcripts run at once
_CLEAN = 64
_LISTS = ("stream", "q", "k", "v", "z", "post")


@dataclass(frozen=True, eq=False)
class EndRuns:
    """The clean and the corrupt run of each pair; everything is [pair, 1, ...], at the pair's ply, up to place ``to``.

    Places are those of `circuits.causes.pair_runs`: ``run.stream[place]`` for every place up to ``to``.
    """

    model: PlainModel
    pairs: Pairs
    clean: Run
    corrupt: Run
    to: int

    def __getitem__(self, rows: Tensor) -> "EndRuns":
        """Some of the pairs."""
        return EndRuns(self.model, self.pairs[rows], _rows(self.clean, rows), _rows(self.corrupt, rows), self.to)

    @property
    def base(self) -> Chunk:
        """The clean runs as the base of other runs at the last ply; LayerNorms are recomputed."""
        at = torch.arange(len(self.pairs))
        return Chunk(self.model, Window(at, self.pairs.ply.cpu(), torch.zeros_like(at), 1), self.clean, [], None)


def acts(run: Run) -> dict[str, Tensor]:
    """What a run kept, by the hook's name, [pair, ...]: streams, the heads' and the neurons' outputs."""
    found = {f"blocks.{layer}.attn.hook_z": z[:, 0] for layer, z in enumerate(run.z)}
    found |= {f"blocks.{layer}.mlp.hook_post": post[:, 0] for layer, post in enumerate(run.post)}
    for place, x in enumerate(run.stream):
        layer, mlp = divmod(place, 2)
        found[f"blocks.{layer}.hook_resid_{'mid' if mlp else 'pre'}"] = x[:, 0]
        if place and not mlp:
            found[f"blocks.{layer - 1}.hook_resid_post"] = x[:, 0]
    return found


@torch.no_grad()
def end_runs(model: PlainModel, pairs: Pairs, to: int) -> EndRuns:
    """Run pairs up to a place."""
    clean, which = pairs.clean.unique(dim=0, return_inverse=True)
    end = (clean != 0).sum(1) - 1
    host = _hosts(clean, end)
    hosts = host.unique()
    hosts = hosts[end[hosts].argsort(stable=True)]
    cleans, clean_rows, corrupts, corrupt_rows = [], [], [], []
    for own in hosts.split(_CLEAN):
        at = torch.full((len(clean),), -1)
        at[own] = torch.arange(len(own))
        at = at[host]  # of every clean transcript, the row that it is read from here
        here = (at >= 0).nonzero()[:, 0]
        everything = Window(own, torch.zeros_like(own), end[own], int(end[own].max()) + 1)
        past: list[tuple[Tensor, Tensor]] = []
        full = Chunk(model, everything, _nothing(), [], None)
        cleans.append(_ends(full, clean[own], to, at[here], end[here], past))
        clean_rows.append(here)
        mine = (at[which] >= 0).nonzero()[:, 0]
        for window in windows(pairs[mine]):
            rows = mine[window.pair]
            shared = [(k[at[which[rows]]], v[at[which[rows]]]) for k, v in past]
            chunk = Chunk(model, window, _nothing(), shared, None)
            corrupts.append(_ends(chunk, pairs.corrupt[rows], to, torch.arange(len(rows)), window.end))
            corrupt_rows.append(rows)
    whole = _rows(_joined(cleans), torch.cat(clean_rows).argsort()[which])
    return EndRuns(model, pairs, whole, _rows(_joined(corrupts), torch.cat(corrupt_rows).argsort()), to)


def _hosts(sorted_: UInt8[Tensor, "transcript 60"], end: Int[Tensor, "transcript"]) -> Int[Tensor, "transcript"]:
    """For each of some different transcripts, in lexical order, the longest one that begins with it."""
    host = torch.arange(len(sorted_))
    inside = torch.arange(sorted_.shape[1]) <= end[:-1, None]
    # What begins with a transcript comes right behind it.
    begins = ((sorted_[1:] == sorted_[:-1]) | ~inside).all(1).tolist()
    for i in range(len(begins) - 1, -1, -1):
        if begins[i]:
            host[i] = host[i + 1]
    return host


def _ends(
    chunk: Chunk,
    tokens: Integer[Tensor, "row ply"],
    to: int,
    row: Int[Tensor, "end"],
    at: Int[Tensor, "end"],
    past: list[tuple[Tensor, Tensor]] | None = None,
) -> Run:
    """A run of the chunk's windows, kept at some of their positions; ``past`` takes the keys and values of all."""
    model, picked = chunk.model, False

    def ends(x: Tensor) -> Tensor:
        return x if picked else x[row, at][:, None]

    embed = model.W_E[chunk.window.of(tokens.to(model.device)).long()]
    x = embed + model.W_pos[chunk.window.plies]
    run = _nothing(ends(embed))
    for place in range(to):
        run.stream.append(ends(x))
        if place == to - 1 and place % 2:  # nobody reads what the last MLP writes elsewhere
            x, picked = ends(x), True
        kept = _nothing()
        x = chunk.step(place, x, kept)
        for name in _LISTS[1:]:
            getattr(run, name).extend(map(ends, getattr(kept, name)))
        if past is not None and kept.k:
            past.append((kept.k[0].transpose(1, 2).contiguous(), kept.v[0].transpose(1, 2).contiguous()))
    run.stream.append(ends(x))
    return run


def _nothing(embed: Tensor | None = None) -> Run:
    return Run(torch.empty(0, 0, 0) if embed is None else embed, [], [], [], [], [], [])


def _rows(run: Run, rows: Tensor) -> Run:
    return Run(run.embed[rows], *([x[rows] for x in getattr(run, name)] for name in _LISTS))


def _joined(runs: list[Run]) -> Run:
    parts = ([torch.cat(x) for x in zip(*(getattr(run, name) for run in runs), strict=True)] for name in _LISTS)
    return Run(torch.cat([run.embed for run in runs]), *parts)
