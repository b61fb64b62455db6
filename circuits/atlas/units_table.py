"""A row for every neuron and head: what it does at a glance, and how much the model needs it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from circuits.atlas.move_effects import ALPHA, FLOOR, MoveEffects, side
from circuits.atlas.results import Results
from circuits.atlas.squares_table import EMPTY as EMPTY_FACT
from circuits.atlas.squares_table import MINE, conditional_means, deviation, logits
from circuits.atlas.table_columns import Column, empty, table
from circuits.census.roles import ROLE
from circuits.extremes import unpack
from circuits.head_sources import CATEGORIES
from circuits.heads import kind_of
from circuits.mining import FIXED_POINT
from circuits.notation import LABELS, PLAYABLE, Unit
from circuits.patterns import FACTS

#: (name in the tables of ablations, column, its standard error, what it is)
ABLATED = (
    ("kl", "kl", "KL(base || ablated) over the 60 moves in nats, mean over positions; all later layers and LayerNorms "
                 "recomputed"),
    ("kl_direct", "kl_direct", "the same in nats where only the direct path to the logits is changed, final LayerNorm "
                               "recomputed"),
    ("top", "top_changed", "share of positions where the likeliest move changes"),
    ("legal", "legal_change", "change of the probability on legal moves, 0 to 1, signed"),
)  # fmt: skip
PARTNERS = ("half-turn", "main diagonal", "anti-diagonal")
_OVER_GAMES = "of the 95 % interval over games"


def _slug(name: str) -> str:
    return name.replace(" ", "_").replace("-", "_")


def _interval(name: str, about: str) -> list[Column]:
    return [
        Column(name, "number", about), Column(f"{name}_low", "number", f"lower end {_OVER_GAMES}"),
        Column(f"{name}_high", "number", f"upper end {_OVER_GAMES}"),
    ]  # fmt: skip


COLUMNS = (
    Column("unit", "text", "the neuron or head, such as L5N1393 or L2H5"),
    Column("kind", "text", "neuron or head; the other kind's columns are null"),
    Column("layer", "whole", "its layer"),
    Column("index", "whole", "its number in the layer"),
    # neurons
    Column("mean", "number", "neurons: mean activation after the non-linearity"),
    Column("sd", "number", "neurons: standard deviation of the activation; 0 for one that never varies"),
    Column("lowest", "number", "neurons: the lowest activation met"),
    Column("highest", "number", "neurons: the highest activation met"),
    Column("share_positive", "number", "neurons: share of positions with an activation above 0"),
    Column("ply_r2", "number", "neurons: share of the variance between the means of the plies; not held out"),
    Column("peak_ply", "whole", "neurons: the ply of the highest mean"),
    Column("state_square", "text", "neurons: the square whose state (empty, theirs, mine) explains most"),
    Column("state_r2", "number", "neurons: share of the variance that it explains; not held out"),
    Column("best_fact", "text", "neurons: the fact on the board that describes it best, chosen on training games"),
    Column("best_f1", "number", "neurons: F1 of 'activation > threshold' against that fact, held-out games"),
    Column("best_f1_low", "number", f"lower end {_OVER_GAMES}"),
    Column("best_f1_high", "number", f"upper end {_OVER_GAMES}"),
    Column("best_skill", "number", "how far that F1 gets from that of a neuron that is always on to 1"),
    Column("shuffled_skill", "number", "skill that the same search reaches on activations dealt to other games"),
    Column("rule_status", "text", "neurons: explained, partly, clock, unexplained, dead (circuits.induction.records)"),
    Column("rule", "text", "neurons: its rule, as circuits.rules.text reads it"),
    Column("rule_r2", "number", "held-out variance that the rule's two means explain"),
    Column("rule_r2_low", "number", f"lower end {_OVER_GAMES}"),
    Column("rule_r2_high", "number", f"upper end {_OVER_GAMES}"),
    Column("rule_f1", "number", "F1 of 'activation > threshold' against the rule, held-out games"),
    Column("tree_r2", "number", "held-out R2 of the decision tree of full depth"),
    Column("roles", "text", "neurons: of clock, played (a square just played explains at least "
                            f"{ROLE:g} of the held-out variance), flipped (a disc just turned does); comma between"),
    *(Column(f"partner_{_slug(name)}", "text", f"neurons: what does the same on the image under {name}, if found")
      for name in PARTNERS),
    Column("twin", "text", "neurons: another of its layer that does the same, if found"),
    Column("raises", "text", "neurons: the move whose logit the output weight raises most, directly"),
    Column("raises_logit", "number", "by how much for one sd of activation, relative to the mean over the 60 moves"),
    Column("lowers", "text", "neurons: the move whose logit it lowers most"),
    Column("lowers_logit", "number", "by how much for one sd of activation (below 0)"),
    # both: ablation to the mean of the ply
    Column("ablated_positions", "count", "positions at which the unit was set to its mean at that ply, one a game"),
    *(column for _, name, about in ABLATED for column in (
        Column(name, "number", about), Column(
            f"{name}_se", "number", "its standard error over games; 0 stands for less than 2e-7"))),
    *(column for name, most, side in (
        ("separates", "largest gap above 0", "legal: lifts it where it is legal; illegal: lowers it where not"),
        ("blurs", "lowest gap below 0", "legal: lowers it where it is legal; illegal: lifts it where not"),
    ) for column in (
        Column(name, "text", f"the move with the {most} (table squares) of those that pass: at least {FLOOR} logits, "
                             f"p < {ALPHA} over all units; null where none does"),
        Column(f"{name}_gap", "number", "that gap, in logits"),
        Column(f"{name}_se", "number", "its standard error over games"),
        Column(f"{name}_side", "text", f"where more of that gap comes from: {side}"))),
    # heads
    Column("head_kind", "text", "heads: last, first, mine, theirs or mixed (circuits.heads), held-out games"),
    Column("head_agreement", "number", "heads: share of held-out games whose own attention gives that kind"),
    *_interval("head_share", "heads: the share of attention that decides the kind"),
    *(column for name in CATEGORIES for column in (
        Column(f"attention_{_slug(name)}", "number", f"heads: mean attention to sources: {name}"),
        Column(f"uniform_{_slug(name)}", "number", f"the same of attention shared equally: {name}"))),
    *_interval("tv", "heads: total variation between the pattern and its ply's mean, 0 (the ply says all) to 1"),
    Column("tv_uniform", "number", "heads: total variation between the pattern and equal attention"),
    *_interval("separation_mine", "heads: what it writes along mine - theirs, mine less theirs, squares pooled, "
                                  "means of the ply taken out, stream units, held-out games"),
    *_interval("separation_mine_share", "heads: its share of what the whole stream there tells of mine - theirs"),
    *_interval("separation_empty", "heads: the same along empty - occupied"),
    *_interval("separation_empty_share", "heads: its share of what the whole stream tells of empty - occupied"),
    *_interval("logit_gap", "heads: direct logit of moves where legal less where illegal on an empty "
                           "square, means of the ply taken out, relative to the mean over the 60 moves"),
)  # fmt: skip


def units_table(results: Results, about: dict) -> pa.Table:
    """Rows by layer, neurons before heads."""
    rows: list[dict[str, Any]] = []
    for layer in results.layers:
        rows += [_named(Unit(layer, "neuron", i), row) for i, row in _neurons(results, layer)]
        rows += [_named(Unit(layer, "head", i), row) for i, row in _heads(results, layer)]
    if not rows:
        return empty(COLUMNS, about)
    values: dict[str, Any] = {}
    for column in COLUMNS:
        own = [row.get(column.name) for row in rows]
        values[column.name] = np.array(own, dtype=float) if column.kind == "number" else own
    return table(COLUMNS, values, about)


def _named(unit: Unit, row: dict[str, Any]) -> dict[str, Any]:
    return {"unit": str(unit), "kind": unit.kind, "layer": unit.layer, "index": unit.index} | row


def _neurons(results: Results, layer: int) -> list[tuple[int, dict[str, Any]]]:
    chosen = results.neurons(layer)
    if not chosen:
        return []
    mining = results.streamed.mining
    sd, mean = deviation(mining, layer), mining.mean()[layer].numpy()
    high, low = (unpack(getattr(mining, end)[layer].keys[:, 0])[0].numpy() for end in ("top", "bottom"))
    positive = mining.share_positive()[layer].numpy()
    ply_mean, ply_r2 = _by_ply(mining, layer, sd)
    peak = np.where(np.isnan(ply_mean), -np.inf, ply_mean).argmax(1) + mining.first_ply
    state = np.nan_to_num(conditional_means(mining, layer)[1], nan=-1.0)
    move = logits(results, layer)
    raises, lowers = np.nan_to_num(move, nan=-np.inf).argmax(1), np.nan_to_num(move, nan=np.inf).argmin(1)
    ablated, found = _ablated(results, layer, "neuron"), []
    for i in chosen:
        row: dict[str, Any] = {
            "mean": mean[i], "sd": sd[i], "lowest": -low[i], "highest": high[i], "share_positive": positive[i],
        }  # fmt: skip
        if sd[i] > 0:
            square = int(state[i].argmax())
            row |= {
                "ply_r2": ply_r2[i], "peak_ply": int(peak[i]), "state_square": LABELS[square],
                "state_r2": state[i, square], "raises": LABELS[raises[i]], "raises_logit": move[i, raises[i]],
                "lowers": LABELS[lowers[i]], "lowers_logit": move[i, lowers[i]],
            }  # fmt: skip
        unit = Unit(layer, "neuron", i)
        found.append((i, row | _fact(results, unit) | _rule(results, unit) | ablated[i]))
    return found


def _by_ply(mining, layer: int, sd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean activation [neuron, ply of the band], NaN where no game has a position, and the variance between them."""
    count = mining.count.double().numpy()
    sums = mining.sums[layer].double().numpy() / FIXED_POINT
    mean = np.where(count > 0, sums / np.maximum(count, 1), np.nan)
    total = sums.sum(1, keepdims=True) / mining.positions
    between = (count * np.nan_to_num(mean - total) ** 2).sum(1) / mining.positions
    return mean, np.clip(between / np.where(sd > 0, sd, 1) ** 2, 0, 1)


def _fact(results: Results, unit: Unit) -> dict[str, Any]:
    scored = results.patterns.get(unit.layer)
    scored = scored and scored[unit.index]
    if not scored or not scored.scores:
        return {}
    best = scored.scores[0]
    low, high = best.f1_interval
    f1, skill = f1_and_skill(best.held_out)
    return {
        "best_fact": FACTS[best.fact], "best_f1": f1, "best_f1_low": low, "best_f1_high": high, "best_skill": skill,
        "shuffled_skill": scored.shuffled_skill,
    }  # fmt: skip


def f1_and_skill(counts: Sequence[int]) -> tuple[float, float]:
    """Of (both, fact only, on only, neither), as `circuits.patterns` has them; 0 where there is nothing to score."""
    both, fact_only, on_only, _ = counts
    f1 = 2 * both / max(2 * both + fact_only + on_only, 1)
    base = (both + fact_only) / max(sum(counts), 1)
    always = 2 * base / (1 + base)
    return f1, (f1 - always) / (1 - always) if always < 1 else 0.0


def _rule(results: Results, unit: Unit) -> dict[str, Any]:
    if results.rules is None or unit not in results.rules:
        return {}
    found, counted = results.rules[unit], results.rules.counted(unit)
    row: dict[str, Any] = {"rule_status": found.status, "tree_r2": found.tree}
    if found.rule:
        explained = found.rule.variance_explained
        row |= {
            "rule": found.rule.rule, "rule_r2": explained.value, "rule_r2_low": explained.low,
            "rule_r2_high": explained.high, "rule_f1": found.rule.f1,
        }  # fmt: skip
    if counted:
        roles = {
            "clock": found.status == "clock", "played": counted.played_r2 >= ROLE, "flipped": counted.flipped_r2 >= ROLE
        }  # fmt: skip
        row["roles"] = ", ".join(name for name, here in roles.items() if here) or None
        row |= {f"partner_{_slug(p.map)}": p.unit for p in counted.partners if p.found}
        row["twin"] = counted.twin if counted.has_twin else None
    return row


def _ablated(results: Results, layer: int, kind: str) -> list[dict[str, Any]]:
    """By unit of a layer, whether it is to get a row or not."""
    shape, found = results.model.shape, results.ablations
    if found is None or not found.positions:
        return [{}] * (shape.d_mlp if kind == "neuron" else shape.n_heads)
    columns = {}
    for name, column, _ in ABLATED:
        columns[column] = found.mean(name, kind)[layer].tolist()
        columns[f"{column}_se"] = found.se(name, kind)[layer].tolist()
    columns["ablated_positions"] = [found.positions] * len(columns["kl"])
    columns |= _gaps(found.moves, layer, kind, results.every)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _gaps(moves: MoveEffects, layer: int, kind: str, units: int) -> dict[str, list]:
    """The moves whose legal positions the units of a layer separate from illegal ones, and blur, most."""
    own, found = slice(layer, layer + 1), {}
    compared, legal = moves.compare(kind, own), moves.mean("legal", kind, own)[0].numpy()
    gap, passed = compared.gap[0], compared.passes(units)[0]
    for name, sign in (("separates", 1), ("blurs", -1)):
        size = np.where(passed, sign * gap, 0.0)
        best = size.argmax(1)
        here = [(i, m) if size[i, m] > 0 else None for i, m in enumerate(best)]
        found[name] = [at and LABELS[PLAYABLE[at[1]]] for at in here]
        for end, values in (("gap", gap), ("se", compared.se[0])):
            found[f"{name}_{end}"] = [at and float(values[at]) for at in here]
        found[f"{name}_side"] = [at and side(gap[at], legal[at]) for at in here]
    return found


def _heads(results: Results, layer: int) -> list[tuple[int, dict[str, Any]]]:
    chosen, tally = results.heads(layer), results.streamed.heads
    to, uniform = tally.attention()[layer].tolist(), tally.uniform_attention().tolist()
    ablated, found = _ablated(results, layer, "head"), []
    for i in chosen:
        row: dict[str, Any] = {}
        for c, name in enumerate(CATEGORIES):
            row |= {f"attention_{_slug(name)}": to[i][c], f"uniform_{_slug(name)}": uniform[c]}
        found.append((i, row | _profile(results, layer, i) | ablated[i]))
    return found


def _profile(results: Results, layer: int, head: int) -> dict[str, Any]:
    if results.profiles is None:
        return {}
    attention, writing = results.profiles.attention, results.profiles.writing
    kind = kind_of(attention, layer, head)
    row: dict[str, Any] = {
        "head_kind": kind.name, "head_agreement": kind.agreement, "head_share": kind.share, "head_share_low": kind.low,
        "head_share_high": kind.high, "tv_uniform": attention.tv_uniform[layer, head].item(),
    }  # fmt: skip
    for name, interval in (
        ("tv", attention.tv[layer, head]), ("logit_gap", writing.logit_gap[layer, head]),
        ("separation_mine", writing.separation_all[layer, head, MINE]),
        ("separation_mine_share", writing.separation_share[layer, head, MINE]),
        ("separation_empty", writing.separation_all[layer, head, EMPTY_FACT]),
        ("separation_empty_share", writing.separation_share[layer, head, EMPTY_FACT]),
    ):  # fmt: skip
        values = torch.where(interval.isfinite(), interval, torch.nan).tolist()
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))
    return row
