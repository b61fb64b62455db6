"""Activation patching: one run's activation put into another, and what that does to a metric.

    clean → corrupt (denoising)   a clean activation in the corrupt run: is it enough to bring the clean answer back?
    corrupt → clean (noising)     a corrupt activation in the clean run: is it needed for the clean answer?
    effect   metric(patched run) - metric(run patched into), per pair
    share    mean effect / mean(metric of the other run - metric of the run patched into): 1 carries all of the
             difference; a ratio of means, since single pairs may differ by next to nothing

(Vig et al. 2020; Meng et al. 2022; Heimersheim and Nanda 2024, arXiv 2404.15255; Zhang and Nanda, arXiv 2309.16042.)

`sweep` patches many places one at a time, by ply or at every ply; `patch` patches a set together. Pairs whose
transcripts first differ late cost little: nothing before the first difference can have an effect, and
`circuits.causes.incremental` computes only what a change can reach. LayerNorms are recomputed in the patched run.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from circuits.attribution import LOGITS
from circuits.causes.changes import Place, Subspace, change, check_reach, lands, places
from circuits.causes.incremental import Recording, Rows, mlp, output, read_point, record, resume
from circuits.causes.metrics import Metric, check_pairs
from circuits.causes.nodes import Node
from circuits.causes.pairs import Pairs
from circuits.causes.patch_results import DIRECTIONS, Patched
from circuits.errors import InputError
from circuits.othello_model import OthelloModel
from circuits.plain import PlainModel, of

#: pairs recorded at once; two recordings of the bundled model are about 190 MB (250 MB with neurons)
CHUNK = 32
#: (place x pair x ply) positions computed at once: up to 330 MB of work in the bundled model
BATCH = 16384


@dataclass(frozen=True)
class _Chunk:
    """Pairs of a chunk in one direction: the run patched into, the run it is patched from, where the metric is read."""

    base: Recording
    source: Recording
    first: Int[Tensor, "pair"]
    read: Int[Tensor, "pair"]
    pair: Int[Tensor, "pair"]


def sweep(
    model: OthelloModel,
    pairs: Pairs,
    metric: Metric,
    what: Sequence[str | Place] = ("pre", "attn", "mlp"),
    *,
    by_ply: bool = True,
    direction: str = "both",
    layers: Sequence[int] | None = None,
    at: int | None = None,
    progress: str | None = None,
) -> Patched:
    """Patch places one at a time.

    Args:
        what: kinds, names or places (see `places`).
        by_ply: each place at each ply by itself; otherwise at every ply together.
        direction: ``"clean → corrupt"``, ``"corrupt → clean"`` or ``"both"``.
        layers: the layers that kinds stand for; all by default.
        at: the ply where the metric is read; each pair's own by default.
        progress: label of a progress bar on stderr.

    Returns:
        effects [direction, place, ply, pair], or without ``by_ply`` [direction, place, 1, pair]. A ply before the
        pair's first difference or after the one read has effect 0, exactly.

    Raises:
        InputError: as `places`; a metric read before a place's reach, before the first difference, or after the end.
    """
    plain = of(model)
    check_pairs(metric, pairs)
    chosen = places(model, what, layers)
    for place in chosen:
        check_reach(place, metric.point, plain)
    read = _read_plies(pairs, at)
    directions = DIRECTIONS if direction == "both" else (_direction(direction),)
    plies = int(read.max()) + 1
    effects = torch.zeros(len(directions), len(chosen), plies if by_ply else 1, len(pairs))
    values = torch.zeros(2, len(pairs))
    batches = list(_batches(chosen, plain, plies))
    order = pairs.first.argsort()
    with tqdm(total=len(pairs), desc=progress, unit=" pairs", disable=None if progress else True, leave=False) as bar:
        for index in order.split(CHUNK):
            runs = _record_both(plain, pairs[index], chosen)
            for run, side in zip(runs, (0, 1), strict=True):
                values[side, index] = _unpatched(plain, run, read[index], metric, index)
            for d, name in enumerate(directions):
                base, source = runs[::-1] if name == DIRECTIONS[0] else runs
                chunk = _Chunk(base, source, pairs.first[index], read[index], index)
                before = values[1 if name == DIRECTIONS[0] else 0]
                for members, groups in batches:
                    for ply, rows, after in _patched_values(plain, groups, chunk, metric, by_ply):
                        pair = index[rows]
                        effects[d, members[:, None], ply, pair] = after.cpu() - before[pair]
            bar.update(len(index))
    return Patched(chosen, directions, effects, values[0], values[1], by_ply, read, metric.name, metric.point, pairs)


def _patched_values(plain: PlainModel, groups: list[list[Place]], chunk: _Chunk, metric: Metric, by_ply: bool):
    """Yield (ply or 0, rows of the chunk, metric [place, row]) over the plies patched, or over groups of pairs."""
    if by_ply:
        for ply in range(int(chunk.first.min()), int(chunk.read.max()) + 1):
            rows = ((chunk.first <= ply) & (ply <= chunk.read)).nonzero().flatten()
            for part in _shares(rows, groups, int(chunk.read.max()) + 1 - ply):
                yield ply, part, _values(plain, groups, chunk, metric, part, slice(ply, ply + 1))
        return
    # All plies: pairs that first differ at about the same ply together.
    end = int(chunk.read.max()) + 1
    for _, rows in groupby(range(len(chunk.first)), key=lambda i: int(chunk.first[i]) // 4):
        rows = torch.tensor(list(rows))
        start = int(chunk.first[rows].min())
        for part in _shares(rows, groups, end - start):
            yield 0, part, _values(plain, groups, chunk, metric, part, slice(start, end))


def _shares(rows: Int[Tensor, "row"], groups: list[list[Place]], plies: int) -> Sequence[Tensor]:
    """The rows in shares small enough to be computed with every place at once."""
    return rows.split(max(1, BATCH // (plies * sum(map(len, groups))))) if len(rows) else ()


def _values(
    plain: PlainModel, groups: list[list[Place]], chunk: _Chunk, metric: Metric, rows: Int[Tensor, "row"], plies: slice
) -> Float[Tensor, "place row"]:
    """The metric of each row with each place patched at ``plies``; places in the order of the groups."""
    read, base = chunk.read[rows], chunk.base
    start, end = plies.start, int(read.max()) + 1
    index: Rows = rows
    if int(rows[-1] - rows[0]) == len(rows) - 1:
        index = slice(int(rows[0]), int(rows[-1]) + 1)
    entering: dict[int, list[Tensor]] = {}
    here = []  # changes that land where the metric is read
    with torch.no_grad():
        for group in groups:
            layer, middle = lands(group[0], plain)
            delta = change(plain, group, base, chunk.source, index, plies)[:, :, : end - start]
            touched = slice(start, start + delta.shape[2])
            changed = (base.mid if middle else base.pre)[layer][index, touched] + delta
            if middle and read_point(plain, metric.point) == (layer, True):
                whole = base.mid[layer]
            else:
                whole = base.pre[layer + middle]
                changed = mlp(plain, layer, changed) if middle else changed
            x = whole[index, start:end].repeat(len(group), 1, 1, 1)
            x[:, :, : delta.shape[2]] = changed
            if whole is base.mid[layer] if middle else False:
                here.append(x[:, torch.arange(len(rows)), (read - start).to(x.device)])
            else:
                entering.setdefault(layer + middle, []).append(x)
        streams = {layer: torch.cat(parts) for layer, parts in entering.items()}
        out = [resume(plain, streams, start, base, index, read, metric.point)] if streams else []
        return _measure(plain, torch.cat([*out, *here]), metric, chunk.pair[rows])


def _measure(plain, out: Float[Tensor, "place row d_model"], metric: Metric, pair) -> Float[Tensor, "place row"]:
    flat = metric(output(plain, out.flatten(0, 1), metric.point), pair.repeat(len(out)))
    return flat.unflatten(0, out.shape[:2])


def _record_both(plain: PlainModel, pairs: Pairs, chosen: Sequence[Place]) -> tuple[Recording, Recording]:
    """The clean and the corrupt run, up to the last ply asked about."""
    kinds = {place.kind for place in chosen if isinstance(place, Node)}
    plies = int(pairs.ply.max()) + 1
    tokens = (pairs.clean[:, :plies], pairs.corrupt[:, :plies])
    return tuple(record(plain, t.long(), heads="head" in kinds, neurons="neuron" in kinds) for t in tokens)


def _unpatched(plain: PlainModel, run: Recording, read, metric: Metric, pair) -> Float[Tensor, "pair"]:
    layer, middle = read_point(plain, metric.point)
    stream = (run.mid if middle else run.pre)[layer]
    return metric(output(plain, stream[torch.arange(len(read)), read.to(stream.device)], metric.point), pair).cpu()


def patch(
    model: OthelloModel,
    pairs: Pairs,
    metric: Metric,
    what: Sequence[str | Place],
    *,
    plies: int | slice | None = None,
    direction: str = "both",
    at: int | None = None,
) -> Patched:
    """Patch a set of places together, at some plies (all by default): one effect a pair.

    A place that lies behind another one of the set gets the source's activation all the same.

    Raises:
        InputError: as `sweep`; plies at which nothing can change the metric.
    """
    check_pairs(metric, pairs)
    plain, chosen = of(model), places(model, what)
    for place in chosen:
        check_reach(place, metric.point, plain)
    read = _read_plies(pairs, at)
    band = slice(plies, plies + 1) if isinstance(plies, int) else plies or slice(None)
    start, stop, _ = band.indices(int(read.max()) + 1)
    if start >= stop:
        raise InputError(f"plies {plies}: the metric is read at ply {int(read.max())} at the latest, before them")
    directions = DIRECTIONS if direction == "both" else (_direction(direction),)
    effects, values = torch.zeros(len(directions), 1, 1, len(pairs)), torch.zeros(2, len(pairs))
    hooks = {_hook(place) for place in chosen}
    for index in torch.arange(len(pairs)).split(CHUNK):
        part, end = pairs[index], int(read[index].max()) + 1
        saved, rows = [], torch.arange(len(index))
        for side, tokens in enumerate((part.clean, part.corrupt)):
            point = [] if metric.point == LOGITS else [metric.point]
            out, acts = plain.run(tokens[:, :end].long(), save=[*hooks, *point])
            seen = (acts[metric.point] if point else out)[rows, read[index].to(out.device)]
            values[side, index] = metric(seen, index).cpu()
            saved.append(acts)
        for d, name in enumerate(directions):
            into, source = (1, saved[0]) if name == DIRECTIONS[0] else (0, saved[1])
            tokens = (part.clean, part.corrupt)[into][:, :end].long()
            edits = [(hook, _put([p for p in chosen if _hook(p) == hook], source[hook], band)) for hook in hooks]
            out, acts = plain.run(tokens, save=point, edit=edits)
            seen = (acts[metric.point] if point else out)[rows, read[index].to(out.device)]
            effects[d, 0, 0, index] = metric(seen, index).cpu() - values[into, index]
    name = " + ".join(map(str, chosen)) if len(chosen) <= 4 else f"{len(chosen)} places"
    return Patched((name,), directions, effects, values[0], values[1], False, read, metric.name, metric.point, pairs)


def _hook(place: Place) -> str:
    return place.point if isinstance(place, Subspace) else place.hook


def _put(group: list[Place], source: Tensor, band: slice):
    """An edit that gives the places of one hook their source activation at some plies."""

    def edit(activation: Tensor, hook) -> Tensor:
        for place in group:
            if isinstance(place, Subspace):
                basis = place.basis.to(activation)
                activation[:, band] += (source[:, band] - activation[:, band]) @ basis.T @ basis
            elif place.kind == "pattern":
                activation[:, place.index, band] = source[:, place.index, band]
            elif place.index is None:
                activation[:, band] = source[:, band]
            else:
                activation[:, band, place.index] = source[:, band, place.index]
        return activation

    return edit


def _batches(
    chosen: Sequence[Place], plain: PlainModel, plies: int
) -> Iterator[tuple[Int[Tensor, "place"], list[list[Place]]]]:
    """Places that are computed at once: their indices, and they themselves in groups of one layer and kind.

    In the order in which `_values` gives them back: by the block they enter.
    """

    def key(i: int) -> tuple:
        place = chosen[i]
        layer, middle = lands(place, plain)
        kind = place.point if isinstance(place, Subspace) else place.kind
        # A place that lands where a metric in the middle of its block is read comes after all others.
        return layer + middle, layer, kind

    order = sorted(range(len(chosen)), key=key)
    most = max(1, BATCH // plies)
    for batch in (order[i : i + most] for i in range(0, len(order), most)):
        yield torch.tensor(batch), [[chosen[i] for i in group] for _, group in groupby(batch, key=key)]


def _direction(name: str) -> str:
    if name not in DIRECTIONS:
        raise InputError(f"direction {name!r}: it is {', '.join(map(repr, DIRECTIONS))} or 'both'")
    return name


def _read_plies(pairs: Pairs, at: int | None) -> Int[Tensor, "pair"]:
    if at is None:
        return pairs.ply
    for wrong, why in (
        (pairs.ply < at, "its transcripts end before, at ply {ply}"),
        (pairs.first > at, "its transcripts are the same until ply {first}, so nothing there can be changed"),
    ):
        if wrong.any():
            i = int(wrong.nonzero()[0])
            reason = why.format(ply=int(pairs.ply[i]), first=int(pairs.first[i]))
            raise InputError(f"the metric cannot be read at ply {at} of pair {i}: {reason}")
    return torch.full_like(pairs.ply, at)
