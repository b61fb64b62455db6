"""The same numbers by another route, for the pages' self-check.

Weights are folded here from the raw checkpoint, not read from the processed model; directions are made here
from the probe's class weights, not taken from `circuits.directions`; activations come from a fresh forward
pass over one game, not from the mining pass; ablated logits from a whole pass with an edit, not from a resumed one;
squares are found by their labels.
"""

import re
from collections.abc import Callable

import torch
from torch import Tensor

from circuits.errors import InputError
from circuits.games import Address
from circuits.notation import LABELS, parse_unit, square, token
from circuits.serial import at
from reports.records import NeuronRecord
from reports.workbench import Workbench


def recompute(bench: Workbench, record: NeuronRecord) -> Callable[[str], float]:
    """A function from a path in the record (``"writes.logits.16"``) to the number that should stand there."""
    raw = bench.checkpoint.weights
    layer, n = record.layer, record.index

    def input_weight() -> Tensor:
        w = raw[f"blocks.{layer}.mlp.W_in"][:, n].double() * raw[f"blocks.{layer}.ln2.w"].double()
        return w - w.mean()

    def output_weight() -> Tensor:
        w = raw[f"blocks.{layer}.mlp.W_out"][n].double()
        return w - w.mean()

    def direction(fact: str, hook: str, s: int) -> Tensor:
        task = "board" if fact in ("mine", "empty") else fact
        w = bench.probes[task, hook].weight[:, s].double()
        if fact == "mine":
            d = w[:, 2] - w[:, 1]
        elif fact == "empty":
            d = w[:, 0] - (w[:, 1] + w[:, 2]) / 2
        else:
            d = w[:, 1] - w[:, 0]
        return d - d.mean()

    def logit(s: int) -> float:
        folded = raw["unembed.W_U"].double() * raw["ln_final.w"].double()[:, None]
        moves = output_weight() @ (folded - folded.mean(0))[:, 1:]
        return float((moves[token(s) - 1] - moves.mean()) / record.writes.logit_scale)

    def activation(path: str) -> float:
        example = at(record, path.rsplit(".", 1)[0])
        row, ply = bench.games.locate(Address.parse(example.address))
        hook = f"blocks.{layer}.mlp.hook_post"
        _, acts = bench.model.run(bench.games[row].inputs, save=[hook], stop_at=layer + 1)
        return float(acts[hook][0, ply, n])

    def fact_holds() -> Tensor:
        """Where the best fit's fact holds, from the boards square by square."""
        fit, gallery = record.patterns.fits[0], bench.gallery
        state = gallery.state
        if fit.direction:
            *flanked, end = (square(s) for s in fit.squares)
            holds = (state[:, square(fit.square)] == 0) & (state[:, end] == 2)
            for s in flanked:
                holds &= state[:, s] == 1
        elif fit.literal in ("empty", "theirs", "mine"):
            holds = state[:, square(fit.square)] == ("empty", "theirs", "mine").index(fit.literal)
        elif fit.literal == "occupied":
            holds = state[:, square(fit.square)] != 0
        else:
            bits = getattr(gallery.boards, fit.literal)[:, gallery.band][gallery.where]
            holds = (bits >> square(fit.square) & 1).bool()
        return holds

    def count(half: str, name: str) -> float:
        """How often the best fit's fact holds and the neuron is on."""
        fit, gallery, holds = record.patterns.fits[0], bench.gallery, fact_holds()
        which = gallery.train if half == "train" else ~gallery.train
        unit_acts = bench.mining.sample[layer, n].float()[gallery.where]
        on = unit_acts > fit.threshold
        cells = {"both": holds & on, "fact_only": holds & ~on, "on_only": ~holds & on}
        return float(cells[name][which].sum())

    def ablated(path: str) -> float:
        """A logit at one position with and without the neuron, from a pass over its game in which it is edited."""
        example = at(record, path.rsplit(".", 1)[0])
        row, ply = bench.games.locate(Address.parse(example.address))
        value = record.causes.without.methods[0].value

        def edit(activation: Tensor, hook) -> Tensor:
            activation[:, ply, n] = value
            return activation

        def logit(edits: list) -> float:
            moves = bench.model.run(bench.games[row].inputs, edit=edits)[0][0, ply, 1:].double()
            return float(moves[token(square(record.causes.without.square)) - 1] - moves.mean())

        with_it = logit([])
        return logit([(f"blocks.{layer}.mlp.hook_post", edit)]) - with_it if path.endswith("change") else with_it

    def training_mean() -> float:
        gallery = bench.gallery
        acts = bench.mining.sample[layer, n].double()[gallery.where]
        conditional = record.causes.without.fact is not None
        return float(acts[gallery.train & ~fact_holds() if conditional else gallery.train].mean())

    def sent() -> float:
        """A sender's direct effect at one pair: change of its activation . what it writes . what the neuron reads."""
        example = record.causes.upstream.example
        read = f"blocks.{layer}.hook_resid_mid"
        runs = []
        for moves in (example.clean, example.corrupt):
            tokens = torch.tensor([[token(square(move)) for move in moves.split()]])
            if example.unit == "embed":
                hook = "hook_embed"
            else:
                unit = parse_unit(example.unit)
                hook = f"blocks.{unit.layer}.{'mlp.hook_post' if unit.kind == 'neuron' else 'attn.hook_z'}"
            _, acts = bench.model.run(tokens, save=[hook, read], stop_at=layer + 1)
            runs.append({name: acts[name][0, -1].double() for name in (hook, read)})
        change = runs[0][hook] - runs[1][hook]
        if example.unit == "embed":
            written = change
        elif unit.kind == "neuron":
            written = change[unit.index] * raw[f"blocks.{unit.layer}.mlp.W_out"][unit.index].double()
        else:
            written = change[unit.index] @ raw[f"blocks.{unit.layer}.attn.W_O"][unit.index].double()
        x = runs[1][read]
        return float(written @ input_weight() / (x.var(correction=0) + bench.model.shape.eps).sqrt())

    def number(path: str) -> float:
        if path.startswith("causes.without.examples."):
            return ablated(path)
        if path == "causes.without.methods.0.value":
            return training_mean()
        if path == "causes.upstream.example.frozen":
            return sent()
        if cell := re.fullmatch(r"patterns\.fits\.0\.(train|held_out)\.(\w+)", path):
            return count(cell[1], cell[2])
        if cell := re.fullmatch(r"(reads|writes)\.(mine|empty|flipped|played|logits)\.(\d+)", path):
            part, fact, s = cell[1], cell[2], square(LABELS[int(cell[3])])
            if fact == "logits":
                return logit(s)
            w = input_weight() if part == "reads" else output_weight()
            hook = record.reads.hook if part == "reads" else record.writes.hook
            return float(torch.nn.functional.cosine_similarity(w, direction(fact, hook, s), dim=0))
        if path.startswith("examples."):
            return activation(path)
        raise InputError(f"there is no second route to {path!r}")

    return number
