"""What a unit is known for, at one position: a neuron's rule and whether it holds here; where a head attends."""

from jaxtyping import Float
from torch import Tensor

from circuits.errors import InputError
from circuits.explanation.records import Attends, Known
from circuits.induction.table import RuleTable
from circuits.notation import LABELS, TOKEN_SQUARE, Unit
from circuits.othello import Boards
from circuits.rules.text import parse_rule

#: plies listed of a head, and the least weight of one
PLIES, LEAST = 3, 0.05


def known(table: RuleTable | None, unit: Unit, boards: Boards, ply: int, activation: float) -> Known | None:
    """A neuron's rule in the table; None for a head, and where there is none.

    Args:
        boards: of one game [1, ply]; ply: the position; activation: the neuron's there.
    """
    if table is None or unit.kind != "neuron" or unit not in table or table[unit].rule is None:
        return None
    row, rule = table[unit], table[unit].rule
    assert rule is not None
    estimate = rule.variance_explained
    try:
        holds = bool(parse_rule(rule.rule).holds(boards)[0, ply])
    except InputError:  # a rule of another version's language
        return None
    on, off = abs(activation - rule.mean_on), abs(activation - rule.mean_off)
    return Known(
        rule.rule, row.status, estimate.value, estimate.low, estimate.high, rule.mean_on, rule.mean_off, holds,
        on <= off if holds else off <= on,
    )  # fmt: skip


def attends(pattern: Float[Tensor, "ply"], tokens: Tensor) -> tuple[Attends, ...]:
    """The plies that a head reads most, of its pattern at the last ply."""
    order = pattern.argsort(descending=True, stable=True)[:PLIES].tolist()
    found = [Attends(i, LABELS[int(TOKEN_SQUARE[int(tokens[i])])], float(pattern[i])) for i in order]
    return tuple(row for row in found if row.weight >= LEAST)
