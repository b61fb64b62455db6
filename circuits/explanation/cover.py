"""What is left unexplained: how much of what all units write beyond their means the listed ones account for."""

from collections.abc import Mapping

from circuits.explanation.contributions import Contributions
from circuits.explanation.known import known
from circuits.explanation.means import Acts
from circuits.explanation.records import Cover, Test
from circuits.induction.table import RuleTable
from circuits.othello import Boards

#: of the positive sum, how much is looked at
MOST = 0.9


def cover(
    beyond: Contributions, tests: Mapping[str, Test], acts: Acts, table: RuleTable | None, boards: Boards, ply: int
) -> Cover:
    """Sums over all units, and over the listed ones.

    Args:
        beyond: contributions to the logit less those of the means.
        tests: ``supports`` and ``opposes``.
        acts: of the position.
        boards: of the game [1, ply]; ply: the position.
    """
    order = beyond.ranked()
    positive = sum(value for _, value in order if value > 0)
    running, half, most = 0.0, 0, 0
    carried = {"explained": 0.0, "partly": 0.0}
    for i, (unit, value) in enumerate(order):
        if value <= 0 or running >= MOST * positive:
            break
        running += value
        half = half or (i + 1 if running >= 0.5 * positive else 0)
        most = i + 1
        if unit.kind == "head":
            continue
        row = known(table, unit, boards, ply, float(acts.neurons[unit.layer, unit.index]))
        if row is not None and row.agrees and row.status in carried:
            carried[row.status] += value
    share = {name: value / positive if positive else 0.0 for name, value in carried.items()}
    return Cover(
        positive=positive,
        negative=sum(value for _, value in order if value < 0),
        shown=sum(row.beyond for row in tests["supports"].units),
        shown_against=sum(row.beyond for row in tests["opposes"].units),
        half=half,
        most=most,
        all=len(order),
        explained=None if table is None else share["explained"],
        partly=None if table is None else share["partly"],
        outside=beyond.embed + beyond.place + beyond.biases,
    )
