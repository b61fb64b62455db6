"""The census on a model's page: what else its neurons do, patterns, partners, rules shared and rules several in one."""

from typing import Any

from circuits.census import published
from circuits.census.count_table import rows
from circuits.census.counts import FOLLOWS_MOVE, ModelCounts, SharedRule
from circuits.census.families import CARRIES, FURTHER, RISE
from circuits.census.partners import PARTNER
from circuits.census.patterns_covered import PLAYABLE_PATTERNS, PUBLISHED_PATTERNS
from circuits.census.roles import ROLE
from circuits.census.writers import LEAST, TOP
from reports.text import count, fixed, percent
from reports.verdicts.tables import NOTHING, Table

#: rows that the page has in its first table
SHOWN = (
    "explained by their rule", "partly explained", "clock neurons", "unexplained", "dead", "tree R² > 0.7",
    "tree R² > 0.7, grown as published", "literals a rule, mean",
)  # fmt: skip
#: shared rules listed, and neurons named of each
LISTED, NAMED = 10, 6


def context(c: ModelCounts) -> dict[str, Any]:
    """What the template shows."""
    return {
        "lead": lead(c),
        "table": table(c),
        "caption": caption(),
        "patterns": patterns(c),
        "redundancy": redundancy(c),
        "shared": shared(c.largest_turned or c.largest),
        "turned": bool(c.largest_turned),
    }


def table(c: ModelCounts) -> Table:
    """The counts by layer, published ones in a line below ours."""
    found = []
    for row in rows(c):
        if row.name in SHOWN:
            continue
        found.append((row.name, *map(_written, row.ours), _written(row.total), row.note))
        if row.published is not None and len(row.published) == len(row.ours):
            note = f"of {published.NEURONS:,} neurons a layer"
            found.append(("– published", *map(count, row.published), count(sum(row.published)), note))
    return Table(("neurons, rules or patterns", *(f"L{x.layer}" for x in c.layers), "total", "what is counted"), found)


def caption() -> str:
    """What the lines of the table mean, with their thresholds."""
    return (
        "Counts of neurons unless the line says otherwise; rules: of neurons explained at least in part, where the "
        "line does not say more. Just-played and flip neurons: the best single fact of that kind explains "
        f"{percent(ROLE, 0)} of the activation or more; follow the last move: the means by square just played explain "
        f"{percent(FOLLOWS_MOVE, 0)} or more. Write: as the neuron goes from where its rule fails to where it holds "
        f"(without a rule, to its highest {percent(TOP, 0)}), it moves a square’s log-odds, or a move’s logit, by "
        f"{LEAST:g} or more and beyond what 99.9 % of random vectors of its norm do to any. A partner does on games "
        f"what the neuron does on their images, a twin does the same in the same layer: each the other’s best, r of "
        f"{PARTNER:g} or more and above chance. Unrelated terms share no square, and each by itself lifts the "
        f"activation by {percent(CARRIES, 0)} of what the rule does; a further rule: a fact on other squares explains "
        f"{percent(FURTHER, 0)} where the rule fails and lifts the activation by {percent(RISE, 0)} of what the rule "
        "does. A rule covers a pattern of a move if it holds wherever the pattern does and only where the move is "
        "legal; a term implies a pattern if the pattern holds wherever it does. Pattern neurons: recall and precision "
        "above that figure for the patterns of one move, by published code’s rule, and strictly, at one threshold."
    )


def _written(value: float | None) -> str:
    if value is None:
        return NOTHING
    return count(int(value)) if value == int(value) else fixed(value, 1)


def lead(c: ModelCounts) -> str:
    """Roles in two sentences."""
    n = sum(x.neurons for x in c.layers)
    board, moves = (sum(getattr(x, name) for x in c.layers) for name in ("board_writers", "move_writers"))
    partner, every = (sum(getattr(x, name) for x in c.layers) for name in ("any_partner", "all_partners"))
    same, of = (sum(getattr(x, name) for x in c.layers) for name in ("same_rule", "same_rule_of"))
    said = (
        f"{count(board)} of {count(n)} neurons ({percent(board / n)}) write the state of a square into the checkpoint "
        f"beyond what any vector of their norm would, {count(moves)} ({percent(moves / n)}) a move’s logit directly. "
        f"{count(partner)} have a partner under one of the three maps of the board that keep the start, "
        f"{count(every)} under all three"
    )
    if of:
        said += f"; of {count(of)} such pairs with rules on both sides, {percent(same / of)} have rules that are images"
    return said + "."


def patterns(c: ModelCounts) -> str:
    """How much of the 960 patterns is looked after."""
    said = (
        f"Explained rules cover {count(c.patterns_covered)} of the {PLAYABLE_PATTERNS} ways in which a move can be "
        f"legal; their terms imply {count(c.patterns_implied)} of them and are {count(c.patterns_exactly)}."
    )
    for at in c.patterns:
        said += (
            f" Pattern neurons at {at.threshold:g} cover {count(at.covered)} by the released code’s rule, "
            f"{count(at.strict_covered)} strictly."
        )
    return said + (
        f" Published, L4–L6 at 0.9: {count(published.PATTERNS_COVERED)} of the {count(PUBLISHED_PATTERNS)} that it "
        "counts, 76 of which never hold."
    )


def redundancy(c: ModelCounts) -> str:
    """Rules carried by several neurons, and neurons that carry several."""
    several, further = (sum(getattr(x, name) for x in c.layers) for name in ("several_groups", "further"))
    if not c.rules:
        return "No neuron has a rule that says something."
    return (
        f"The {count(c.rules)} rules that say something are {count(c.distinct)} different ones, "
        f"{count(c.distinct_turned)} up to the maps of the board; {count(c.shared)} neurons carry a rule that another "
        f"one carries too ({percent(c.shared / c.rules)}), {count(c.shared_turned)} its image. {count(several)} rules "
        f"have unrelated parts that each carry, and for {count(further)} neurons a fact on other squares says much "
        "where the rule fails."
    )


def shared(largest: tuple[SharedRule, ...]) -> Table:
    """The rules of most carriers."""
    found = []
    for x in largest[:LISTED]:
        named = ", ".join(x.units[:NAMED])
        found.append((x.rule, count(x.carriers), named + (", …" if x.carriers > NAMED else "")))
    return Table(("rule", "neurons", "which"), found)
