"""A head's page checks itself, as a neuron's does (`reports.checks`): numbers by another route, the page read back.

By another route: patterns of the example positions from the raw weights (LayerNorm, queries, keys and softmax written
out here for one game), the connections through whole weight matrices instead of their d_head dimensions, the OV cosines
from the raw checkpoint and the probe's class weights, the ablated position by taking the head's write out of the
attention's output instead of changing the head's. Means over the study's games are not computed again.
"""

import random
import re
from collections.abc import Callable

import torch
from torch import Tensor

from circuits.errors import InputError
from circuits.games import Address
from circuits.notation import LABELS, parse_unit
from circuits.serial import at
from reports.checks import Page, PageError, compare, compare_board, compare_position, number_in
from reports.heads import charts as head_charts
from reports.heads import words as head_words
from reports.heads.records import Attended, HeadRecord
from reports.workbench import Workbench

PATTERNS = 8  # sampled attention values


def sampled_paths(record: HeadRecord, seed: int = 0) -> tuple[str, ...]:
    """Numbers worth recomputing, those that mistakes would hurt most first."""
    chosen = random.Random(f"{seed} {record.unit}")
    shown = [
        (f"examples.{i}.positions.{k}", e) for i, x in enumerate(record.examples) for k, e in enumerate(x.positions)
    ]
    paths = []
    for path, e in [shown[0], shown[-1]] if shown else []:
        paths += [f"{path}.{name}" for name in ("distance", "itself", "mine", "theirs")]
        paths.append(f"{path}.pattern.{max(range(len(e.pattern)), key=lambda k: e.pattern[k])}")
    for path, e in chosen.sample(shown, min(PATTERNS, len(shown))):
        paths.append(f"{path}.pattern.{chosen.randrange(len(e.pattern))}")
    if record.moves.link_board is not None:
        cells = [s for s, v in enumerate(record.moves.link_board) if v is not None]
        paths += [f"moves.link_board.{s}" for s in chosen.sample(cells, min(4, len(cells)))]
    paths += [f"neighbours.{i}.units.0.value" for i, c in enumerate(record.neighbours) if c.units]
    if record.causes is not None and record.causes.example is not None:
        paths.append("causes.example.kl")
    return tuple(dict.fromkeys(paths))


def recompute(bench: Workbench, record: HeadRecord) -> Callable[[str], float]:
    """A function from a path in the record to the number that should stand there."""
    raw, layer, head = bench.checkpoint.weights, record.layer, record.index
    shape, means = bench.model.shape, bench.heads.means
    runs: dict[int, Tensor] = {}

    def name(kind: str, i: int = layer) -> str:
        return f"blocks.{i}.attn.{kind}"

    def folded(kind: str, i: int, h: int) -> Tensor:
        """A weight that reads the stream, with its LayerNorm's scale, centred."""
        w = raw[name(f"W_{kind}", i)][h].double() * raw[f"blocks.{i}.ln1.w"].double()[:, None]
        return w - w.mean(0)

    def written(i: int, h: int) -> Tensor:
        w = raw[name("W_O", i)][h].double()
        return w - w.mean(-1, keepdim=True)

    def pattern(e: Attended) -> Tensor:
        """The pattern at one position, from the stream and the raw weights."""
        row, ply = bench.games.locate(Address.parse(e.address))
        if row not in runs:
            hook = f"blocks.{layer}.hook_resid_pre"
            runs[row] = (
                bench.model.run(bench.games[row].inputs, save=[hook], stop_at=layer + 1)[1][hook][0].cpu().double()
            )
        x = runs[row][: ply + 1]
        x = x - x.mean(-1, keepdim=True)
        x = x / (x.square().mean(-1, keepdim=True) + shape.eps).sqrt()
        x = x * raw[f"blocks.{layer}.ln1.w"].double() + raw[f"blocks.{layer}.ln1.b"].double()
        q, k = (x @ raw[name(f"W_{n}")][head].double() + raw[name(f"b_{n}")][head].double() for n in "QK")
        return (q[-1] @ k.T / shape.d_head**0.5).softmax(-1)

    def position(path: str, what: str) -> float:
        e = at(record, path)
        p = pattern(e)
        if what.startswith("pattern."):
            return float(p[int(what.split(".")[1])])
        if what == "distance":
            return float((p - means.pattern[layer, head, e.ply, : e.ply + 1].double()).abs().sum() / 2)
        row, ply = bench.games.locate(Address.parse(e.address))
        black = bench.games[row].boards().black_to_move[0].tolist()
        movers = [True, *black[:ply]]  # who made each move: who was to move before it
        side = {"mine": black[ply], "theirs": not black[ply]}
        if what == "itself":
            return float(p[ply])
        return float(sum(p[k] for k in range(ply) if movers[k] == side[what]))

    def direction(fact: str, hook: str, s: int) -> Tensor:
        task = "board" if fact in ("mine", "empty") else fact
        points = (hook, f"blocks.{layer - 1}.hook_resid_post") if hook.endswith("resid_pre") else (hook,)
        w = next(bench.probes[task, p] for p in points if (task, p) in bench.probes).weight[:, s].double().cpu()
        if fact == "mine":
            d = w[:, 2] - w[:, 1]
        elif fact == "empty":
            d = w[:, 0] - (w[:, 1] + w[:, 2]) / 2
        else:
            d = w[:, 1] - w[:, 0]
        return d - d.mean()

    def link(s: int) -> float:
        first, m = record.moves.links[0], record.moves
        moved = direction(first.source, m.read_hook, s) @ folded("V", layer, head) @ written(layer, head)
        return float(torch.nn.functional.cosine_similarity(moved, direction(first.target, m.write_hook, s), dim=0))

    def connection(i: int) -> float:
        row = record.neighbours[i]
        other = parse_unit(row.units[0].unit)

        def ov(unit_layer: int, h: int) -> Tensor:
            return folded("V", unit_layer, h) @ written(unit_layer, h)

        def reader(unit_layer: int, h: int) -> Tensor:
            if row.via == "V":
                return ov(unit_layer, h)
            qk = folded("Q", unit_layer, h) @ folded("K", unit_layer, h).T
            return qk if row.via == "Q" else qk.T

        if row.name == "earlier heads":
            a, b = ov(other.layer, other.index), reader(layer, head)
        elif row.name == "later heads":
            a, b = ov(layer, head), reader(other.layer, other.index)
        elif row.name == "earlier neurons":
            w = raw[f"blocks.{other.layer}.mlp.W_out"][other.index].double()
            a, b = (w - w.mean())[None], ov(layer, head)
        else:
            w = raw[f"blocks.{other.layer}.mlp.W_in"][:, other.index].double()
            w = w * raw[f"blocks.{other.layer}.ln2.w"].double()
            a, b = ov(layer, head), (w - w.mean())[:, None]
        return float((a @ b).norm() / (a.norm() * b.norm()))

    def ablated() -> float:
        """KL where what the head writes beyond its mean is taken out of its layer's output."""
        row, ply = bench.games.locate(Address.parse(record.causes.example.address))
        inputs, z = bench.games[row].inputs, name("hook_z")
        out, acts = bench.model.run(inputs, save=[z])
        mean = means.z[layer, : inputs.shape[1], head].double()
        less = (acts[z][0, :, head].cpu().double() - mean) @ written(layer, head)

        def edit(activation: Tensor, hook) -> Tensor:
            return activation - less.to(activation)

        changed = bench.model.run(inputs, edit=[(f"blocks.{layer}.hook_attn_out", edit)])[0]
        p, q = (x[0, ply].double().log_softmax(-1) for x in (out, changed))
        return float((p.exp() * (p - q)).sum())

    def number(path: str) -> float:
        if found := re.fullmatch(r"(examples\.\d+\.positions\.\d+)\.(distance|itself|mine|theirs|pattern\.\d+)", path):
            return position(*found.groups())
        if found := re.fullmatch(r"moves\.link_board\.(\d+)", path):
            return link(int(found[1]))
        if found := re.fullmatch(r"neighbours\.(\d+)\.units\.0\.value", path):
            return connection(int(found[1]))
        if path == "causes.example.kl":
            return ablated()
        raise InputError(f"there is no second route to {path!r}")

    return number


# ---- the page read back ------------------------------------------------------------------------------------

#: of every map: left, top, width and height of a cell
GRIDS = {"attention.by_ply": (44, 18, 7, 6)}
DISPLACEMENT = (9, 8, 10, 10)
WANTED = ("writes.legal", "writes.illegal", "writes.occupied", "reading.by_square", "attention.source")


def check_head_page(html: str, record: HeadRecord) -> int:
    """Read a built page back and compare it with its record; how many shown things were compared.

    Raises:
        PageError: a cell, disc, figure or sentence differs from the record, or one is missing.
    """
    page = HeadPage()
    page.feed(html)
    wanted = {
        *WANTED,
        *(f"writes.facts.{i}.board" for i, f in enumerate(record.writes.facts) if f.fact in ("mine", "empty")),
    }
    if missing := sorted(wanted - {b["path"] for b in page.boards}):
        raise PageError(f"{record.unit}: the page has no board of {missing[0]}")
    if missing := sorted({"attention.by_ply", "attention.displacement"} - {m["path"] for m in page.maps}):
        raise PageError(f"{record.unit}: the page has no map of {missing[0]}")
    compared = sum(compare_board(b, record) for b in page.boards)
    compared += sum(compare_position(p, record, legal=False) for p in page.positions)
    compared += sum(_compare_attention(a, record) for a in page.attended)
    compared += sum(_compare_map(m, record) for m in page.maps)
    listed = sum(len(e.positions) for e in record.examples)
    if not len(page.positions) == len(page.attended) == listed:
        raise PageError(f"{record.unit}: the page has {len(page.positions)} positions, its record {listed}")
    for path, text in page.values:
        compare(record, path, path, number_in(text), float(at(record, path)))
    head = head_words.headline(record)
    for name, text, expected in (("headline", page.headline, head.sentence), ("grade", page.grade, head.grade)):
        if text.strip().lower() != expected.lower():
            raise PageError(f"{record.unit}: the {name} reads {text.strip()!r}, its numbers say {expected!r}")
    return compared + len(page.values) + 2


def _compare_attention(board: dict, record: HeadRecord) -> int:
    """Every square that was attended to is shown with its share, in its place."""
    attention = at(record, board["path"]).attention
    cells = {title.partition(" ")[0]: (x, y, title.partition(" ")[2]) for x, y, title in board["cells"]}
    for s, share in enumerate(attention):
        where = f"{board['path']}.attention:{LABELS[s]}"
        seen = share >= head_charts.SEEN
        if seen != (LABELS[s] in cells):
            raise PageError(f"{record.unit}: {where} is {'not ' if seen else ''}shown, the record has {share:.4g}")
        if seen:
            x, y, text = cells[LABELS[s]]
            if (x, y) != (9 + 10 * (s % 8), 8 + 10 * (s // 8)):
                raise PageError(f"{record.unit}: {where} is drawn at {x},{y}")
            compare(record, board["path"], where, number_in(text), share)
    return len(cells)


def _compare_map(shown: dict, record: HeadRecord) -> int:
    """Every cell of a map is drawn in its place, in the strength and on the side of zero that the record gives."""
    path = shown["path"]
    values = at(record, path)
    if path in GRIDS:
        expected = {(i, j): v for i, row in enumerate(values) for j, v in enumerate(row)}
    else:
        expected = {(k // 15, k % 15): v for k, v in enumerate(values) if v is not None}
    expected = {cell: head_charts.level(v, shown["scale"]) for cell, v in expected.items()}
    expected = {cell: strength for cell, strength in expected.items() if strength}
    left, top, width, height = GRIDS.get(path, DISPLACEMENT)
    found = {}
    for x, y, strength in shown["cells"]:
        (j, over), (i, under) = divmod(x - left, width), divmod(y - top, height)
        if over or under or (i, j) in found:
            raise PageError(f"{record.unit}: {path} has a cell at {x},{y}, where none belongs")
        found[i, j] = strength
    for cell in sorted({*found, *expected}):
        if found.get(cell) != expected.get(cell):
            raise PageError(
                f"{record.unit}: {path}, row {cell[0]}, column {cell[1]} is drawn in strength {found.get(cell, 0)}, "
                f"the record says {expected.get(cell, 0)} of {head_charts.LEVELS}"
            )
    return len(expected)


class HeadPage(Page):
    """Collects beside what every page shows the maps and the attended positions."""

    def __init__(self) -> None:
        super().__init__()
        self.maps: list[dict] = []
        self.attended: list[dict] = []
        self._map: dict | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        super().handle_starttag(tag, attrs)
        a = {name: value or "" for name, value in attrs}
        if tag == "svg":
            self._map = None
            if "data-map" in a:
                self._map = {"path": a["data-map"], "scale": float(a["data-scale"]), "cells": []}
                self.maps.append(self._map)
            if "data-attention" in a:
                self._board = {"path": a["data-attention"], "cells": []}
                self.attended.append(self._board)
        elif self._map is not None and tag == "path" and a.get("class") in ("p", "n") and "fill-opacity" in a:
            strength = round(head_charts.LEVELS * float(a["fill-opacity"])) * (-1 if a["class"] == "n" else 1)
            for x, y in re.findall(r"M(\d+) (\d+)h", a["d"]):
                self._map["cells"].append((int(x), int(y), strength))

    def handle_endtag(self, tag: str) -> None:
        super().handle_endtag(tag)
        if tag == "svg":
            self._map = None
