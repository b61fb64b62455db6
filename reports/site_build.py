"""A set of pages from one workbench: which neurons and heads, their records, and the index that names them."""

from dataclasses import replace
from pathlib import Path

import torch
from tqdm.auto import tqdm

from circuits.activations import stream
from circuits.behaviour import play_quality
from circuits.errors import InputError
from circuits.features import board_state
from circuits.games import generate
from circuits.notation import Unit
from probes import Evaluation
from reports import fit_records as fr
from reports import index_records as ir
from reports import records as r
from reports.build import provenance
from reports.heads import build as head_build
from reports.heads.build import costliest, head_record
from reports.heads.records import HeadRecord
from reports.site import head_entry, index_entry, write_site
from reports.workbench import Workbench

#: fresh games on which the index says how well the model plays, from a seed that mining never uses
QUALITY_GAMES = 200
QUALITY_SEED_OFFSET = 1_000_003


def build_site(
    bench: Workbench, out: str | Path, units: list[Unit | str] | None = None, rules: bool = True
) -> tuple[Path, ir.IndexRecord]:
    """Build a page for each neuron and head and an index; its path and record.

    By default two neurons of each layer (`default_units`) and the head that costs most (`head_build.costliest`); with
    ``rules`` the best rule of each neuron is looked for and tested, which takes some seconds each.

    Raises:
        InputError: no such unit, or the folder cannot be written.
        PageError: a page or record does not survive its self-check; nothing is written then.
    """
    asked = [(bench.unit(u), "asked for by name") for u in units or ()]
    _check_writable(Path(out))
    chosen = list(dict(asked).items()) if asked else default_units(bench) + costliest(bench)
    records = []
    for unit, why in tqdm(chosen, desc="pages", unit=" pages", disable=None, leave=False):
        if unit.kind == "head":
            records.append(head_record(bench, unit, why))
        else:
            records.append(bench.neuron(unit, why, rule=rules).record)
    index = index_record(bench, records)
    index = replace(index, provenance=_asked_for(index.provenance, bench, [str(unit) for unit in dict(asked)]))
    return write_site(out, records, index), index


def _asked_for(p: r.Provenance, bench: Workbench, units: list[str]) -> r.Provenance:
    """The provenance with the command, and the Python, that build this set of pages again."""
    return replace(
        p,
        command=" ".join(("othello-circuits report", *units)) + bench.options,
        python="from reports import open_model; from reports.site_build import build_site; "
        f'build_site(open_model({bench.arguments}), "report"{f", {units}" if units else ""})',
    )


def default_units(bench: Workbench) -> list[tuple[Unit, str]]:
    """Two neurons of each layer: the best explained by one fact, and one drawn at random.

    Best explained means the highest share of variance explained by a single fact on the training games;
    its page then shows how it holds up on the held-out ones.
    """
    generator = torch.Generator().manual_seed(bench.seed)
    n = bench.model.shape.d_mlp
    found = []
    for layer in range(bench.model.shape.n_layers):
        correlation, which = bench.gallery.screen(layer)
        drawn = int(torch.randint(n, (1,), generator=generator))
        if len(which):
            r2 = correlation.max(1).values.clamp_min(0) ** 2
            best = int(r2.argmax())
            share = f"one fact explains {100 * float(r2[best]):.0f} % of its variance on the training games"
            why = f"best explained of the layer’s {n}: {share}"
            found.append((Unit(layer, "neuron", best), why))
            drawn += drawn == best
        found.append((Unit(layer, "neuron", drawn % n), f"drawn at random from the layer’s {n}, seed {bench.seed}"))
    return found


def index_record(bench: Workbench, records: list[r.NeuronRecord | HeadRecord]) -> ir.IndexRecord:
    """The index of a set of pages, with how well the model plays and how well the probe reads."""
    fresh = generate(QUALITY_GAMES, seed=bench.seed + QUALITY_SEED_OFFSET)
    q = play_quality(bench.model, fresh, progress="playing")

    def figure(name: str, value: float, baseline: float, of: str, percent: bool, text: str) -> ir.Quality:
        return ir.Quality(name, value, baseline, of, percent, "lower", text)

    uniform = "uniform over the 60 moves"
    quality = (
        figure("illegal top-1 rate", q.illegal_top1, q.chance_illegal_top1, uniform, True,
               "positions whose most probable move is illegal"),
        figure("illegal mass", q.illegal_mass, q.chance_illegal_top1, uniform, True,
               "probability on illegal moves, on average"),
        figure("KL to uniform-legal", q.kl_to_uniform_legal, q.chance_kl, uniform, False,
               "distance to the best possible prediction, in nats"),
        figure("top-N error", q.top_n_error, q.chance_top_n_error, "N moves at random", False,
               "false positives and false negatives of the N most probable moves against the N legal ones"),
    )  # fmt: skip
    rows, sample = _probe_rows(bench)
    heads = [record for record in records if isinstance(record, HeadRecord)]
    neurons = [record for record in records if not isinstance(record, HeadRecord)]
    what = " and ".join(name for name, found in (("neurons", neurons), ("heads", heads)) if found)
    return ir.IndexRecord(
        title=f"{bench.model.name}: {what}",
        # A site of heads alone needs no pass over the neurons.
        provenance=provenance(bench) if neurons else head_build.provenance(bench),
        model_note=_how_made(bench.model.card),
        quality=quality,
        quality_sample=fr.Sample("all", q.games, q.positions, "fresh random games, none of them mined"),
        probe=rows,
        probe_sample=sample,
        entries=tuple(index_entry(record) for record in neurons),
        heads=tuple(head_entry(record) for record in heads),
    )


def _how_made(card: dict) -> str:
    """A sentence on the model from its card; one that says so where the card is silent."""
    if "shape of" in card:
        return f"Random weights in the shape of {card['shape of']}, never trained: a baseline."
    machine = card.get("machine", card.get("hardware"))
    said = [
        f"trained on {card['games']:,} games" if isinstance(card.get("games"), int) else "",
        f"({card['data']})" if "data" in card else "",
        f"with the {str(card['objective']).partition(':')[0]!r} objective" if "objective" in card else "",
        f"on {machine}" if machine else "",
        f"read from a file in {card['layout']} layout" if "layout" in card else "",
    ]
    said = [part for part in said if part]
    return f"An Othello-GPT, {' '.join(said)}." if said else "Its file does not say how this model was made."


def _probe_rows(bench: Workbench) -> tuple[tuple[ir.ProbeRow, ...], fr.Sample]:
    """Accuracy after each layer: the stored evaluation of bundled probes, with its baselines; else measured now.

    Measured now means on games that are fresh to model and probe alike, without the baselines that need
    other probes trained.
    """
    if bench.evaluation is not None:
        return _stored_rows(bench.evaluation)
    hooks = [h for h in bench.probes.hooks("board") if h.endswith("resid_post")]
    games = generate(QUALITY_GAMES // 2, seed=bench.seed + QUALITY_SEED_OFFSET)
    right, positions = dict.fromkeys(hooks, 0), 0
    band = bench.plies
    for batch in stream(bench.model, games, hooks, progress="reading the board"):
        boards = batch.games.boards()
        rows = boards.valid[:, band]
        truth = board_state(boards)[:, band][rows]
        for hook in hooks:
            resid = batch.acts[hook][:, band].cpu()[rows]
            right[hook] += int((bench.probes["board", hook].predict(resid) == truth).sum())
        positions += int(rows.sum())
    rows = tuple(ir.ProbeRow(h, right[h] / (64 * positions), None, None, None) for h in hooks)
    return rows, fr.Sample("all", len(games), positions, "fresh random games, none of them mined")


def _stored_rows(e: Evaluation) -> tuple[tuple[ir.ProbeRow, ...], fr.Sample]:
    """The rows of an evaluation, after each layer."""
    empty = (None,) * len(e.points)
    baselines = [
        e.baselines.get(name, empty) for name in ("constant per square and ply", "random weights", "black/white")
    ]
    rows = tuple(
        ir.ProbeRow(hook, e.accuracy[i], *(column[i] for column in baselines))
        for i, hook in enumerate(e.points)
        if hook.endswith("resid_post")
    )
    note = f"{e.about['probes']['games']['source']}, split by game from those the probes were trained on"
    return rows, fr.Sample("held-out", e.about["held_out_games"], e.about["positions"], note)


def _check_writable(out: Path) -> None:
    """Fail before minutes of work, not after."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"cannot write to {out}: {error.strerror}; give another --out") from None
