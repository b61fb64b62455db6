"""The units that contribute most, and what is lost without them: the three tests of an explanation."""

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor

from circuits.explanation import records as r
from circuits.explanation.known import attends, known
from circuits.explanation.lines import STATES
from circuits.explanation.run import Run, rank, relative, state_direction
from circuits.explanation.set_to_means import random_units, set_to_means, sizes, units_alike
from circuits.notation import LABELS, Unit

#: units listed for the move, against it, and of those that write its squares
FOR, AGAINST, WRITERS = 10, 5, 10
#: squares listed of what a unit writes
WRITTEN = 2


def tests_of_units(run, at, own, beyond, written, direction, point, resting, table, draws, seed) -> dict[str, r.Test]:
    """The three sets of units, all of their runs in one pass."""
    order = beyond.ranked()
    sets = {
        "supports": [unit for unit, value in order[:FOR] if value > 0],
        "opposes": [unit for unit, value in order[::-1][:AGAINST] if value < 0],
        "writers": [unit for unit, value in written.ranked()[:WRITERS] if value > 0],
    }
    size = sizes(run.model, run.acts, run.means.acts)
    runs: list[Sequence[Unit]] = []
    where: dict[tuple[str, str], slice] = {}
    for name, units in sets.items():
        kinds = {
            "set": [units], "alone": [[unit] for unit in units],
            "random": random_units(run.model, units, draws, seed),
            "alike": units_alike(run.model, units, size, draws, seed),
        }  # fmt: skip
        for kind, given in kinds.items():
            where[name, kind] = slice(len(runs), len(runs) + len(given))
            runs += given
    logits, saved = set_to_means(run.last, runs, run.means.acts, [point])
    change = relative(logits) - relative(run.logits)
    read = (saved[point].double() @ direction).cpu() - float(run.saved[point][0, run.ply].double() @ direction)
    found = {}
    for name, units in sets.items():
        parts = {kind: where[name, kind] for kind in ("set", "alone", "random", "alike")}
        whole = parts["set"].start
        alone = change[parts["alone"], at].tolist()
        rows = [
            _unit(run, unit, own, beyond, written, value, resting, table)
            for unit, value in zip(units, alone, strict=True)
        ]
        found[name] = r.Test(
            units=tuple(rows),
            logit=_change(-sum((row.beyond for row in rows), 0.0), change[:, at], parts),
            board=None if name != "writers" else _change(-sum((row.board for row in rows), 0.0), read, parts),
            probability=float(logits[whole].double().softmax(-1)[1 + at]),
            rank=rank(relative(logits[whole]), at),
            falls=rank(-change[whole], at),
            misread=_misread(run, point, saved[point][whole], resting),
        )
    return found


def _misread(run: Run, point: str, stream: Tensor, resting: Sequence[tuple[int, str]]) -> tuple[str, ...]:
    read = run.readers[point].read(stream).tolist()
    return tuple(LABELS[s] for s, _ in resting if read[s] != run.board[s])


def _change(direct: float, values: Float[Tensor, "run"], parts: Mapping[str, slice]) -> r.Change:
    def spread(kind: str) -> r.Spread:
        own = values[parts[kind]]
        return r.Spread(float(own.mean()), float(own.min()), float(own.max()))

    return r.Change(float(direct), float(values[parts["set"]][0]), spread("random"), spread("alike"))


def _unit(run, unit, own, beyond, written, alone, resting, table) -> r.UnitRow:
    neuron = unit.kind == "neuron"
    activation = float(run.acts.neurons[unit.layer, unit.index]) if neuron else 0.0
    pattern = None if neuron else run.saved[f"blocks.{unit.layer}.attn.hook_pattern"][0, unit.index, run.ply]
    return r.UnitRow(
        unit=str(unit),
        activation=activation if neuron else None,
        mean=float(run.means.acts.neurons[unit.layer, unit.index]) if neuron else None,
        contribution=own.of(unit),
        beyond=beyond.of(unit),
        board=written.of(unit),
        alone=alone,
        writes=_writes(run, unit, resting),
        known=known(table, unit, run.boards, run.ply, activation),
        attends=() if neuron else attends(pattern, run.tokens),
    )


def _writes(run: Run, unit: Unit, resting: Sequence[tuple[int, str]]) -> tuple[r.Writes, ...]:
    """What a unit writes to the squares' states, read where it writes to: a neuron after its layer, a head in it."""
    reader = run.readers.get(f"blocks.{unit.layer}.hook_resid_{'post' if unit.kind == 'neuron' else 'mid'}")
    if reader is None:
        return ()
    (a, b), i = (run.acts, run.means.acts), (unit.layer, unit.index)
    if unit.kind == "neuron":
        change = float(a.neurons[i] - b.neurons[i]) * run.model.W_out(unit.layer)[unit.index]
    else:
        change = (a.z[i] - b.z[i]).float() @ run.model.W_O(unit.layer)[unit.index]
    found = []
    for s, _ in resting:
        state = run.board[s]
        found.append(r.Writes(LABELS[s], STATES[state], float(change @ state_direction(reader, s, state))))
    return tuple(sorted(found, key=lambda row: -abs(row.by))[:WRITTEN])
