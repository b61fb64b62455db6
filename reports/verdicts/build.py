"""From a workbench to a verdict: which games it is made on, and how it is made again."""

from collections.abc import Sequence
from dataclasses import replace
from shlex import quote
from typing import TYPE_CHECKING

import torch

from circuits.causes.nodes import parse_node
from circuits.errors import InputError
from circuits.induction.kept import shares_games
from circuits.notation import Unit
from circuits.rules import Atom, Claim, Line, Rule, conjunction
from circuits.rules.text import parse_rule
from circuits.verdicts.neighbours import spelled_out
from circuits.verdicts.readings import Ground, read
from circuits.verdicts.records import Verdict
from circuits.verdicts.search import best_rule
from circuits.verdicts.subjects import Subject, subject
from circuits.verdicts.verdict import test

#: random games beside the set, where that is random too, in which counterfactual pairs of rare rules are looked for
FRESH = 20_000

if TYPE_CHECKING:
    from reports.workbench import Workbench


def ground(bench: "Workbench") -> Ground:
    """What verdicts on a workbench's model are made on.

    Training games are those that everything else is learnt on, half of the sampled ones. Held out is every game of the
    set that the split by transcript puts on that side, the sampled ones first: a finished mining pass has run these.
    """
    train, sampled = bench.head_games
    _, out = bench.games.split(0.5, bench.seed)
    rest = out[~torch.isin(out.ids, sampled.ids)] if len(out) > len(sampled) else None
    parts = [sampled] if rest is None else [sampled, rest]
    held_out = replace(
        out, tokens=torch.cat([part.tokens for part in parts]), ids=torch.cat([part.ids for part in parts])
    )
    return Ground(
        bench.model, train, held_out, bench.plies, bench.seed, bench.probes.board_readers(bench.model.device),
        bench.editor, bench.mining if bench.is_mined else None, FRESH * bench.games.source.startswith("random,"),
    )  # fmt: skip


def verdict(
    bench: "Workbench",
    unit: str | Unit | Sequence[str | Unit] | Subject,
    rule: str | Rule | Claim,
    source: str = "given",
) -> Verdict:
    """The verdict on a rule, with where the rule comes from, and the command and the Python line that make it again.

    Raises:
        InputError: as `circuits.verdicts.verdict.test`.
    """
    found = replace(_with_facts(bench, test(bench.ground, unit, rule)), source=source)
    if isinstance(unit, Subject):  # made in Python: no line of ours makes it again
        return found
    return replace(
        found,
        command=f"othello-circuits test {quote(found.unit)} {quote(found.claim)}{bench.options}",
        python=f"from reports import open_model; open_model({bench.arguments}).test({found.unit!r}, {found.claim!r})",
    )


def rule_of_neuron(bench: "Workbench", unit: Unit) -> tuple[Rule | None, str]:
    """The best rule known of a neuron, and where it comes from; None where there is none.

    That of the model's table of rules, if there is one; else, or if the table was made on games that the verdict is to
    be measured on, the best conjunction found on the training games (`circuits.verdicts.search`). A pattern is spelled
    out in facts on squares, each of which can then be tested by itself.
    """
    table = bench.rules
    if table is not None and unit in table and not shares_games(table, bench.games):
        row, p = table[unit], table.provenance
        source = f"from the table of rules, found on {p.train_games:,} other games"
        return (parse_rule(row.rule.rule).replace(_spelled) if row.rule else None), source
    own = bench.ground
    tested = subject(own.model, str(unit))
    train = read(own.model, tested, own.train, own.band, sample=own.sample)
    found = best_rule(tested, train)
    return None if found is None else found.replace(_spelled), "found on the training games"


def _spelled(atom: Atom) -> Rule:
    """A pattern of now in facts on squares; any other atom as it is."""
    known = isinstance(atom, Line) and not atom.back
    return conjunction(spelled_out(atom.pattern)) if known else atom


def _with_facts(bench: "Workbench", found: Verdict) -> Verdict:
    """With the best single fact of every upstream neuron named, if there is a mining pass to read it from."""
    if found.inputs is None or not bench.is_mined:
        return found
    senders = []
    for sender in found.inputs.senders:
        node = parse_node(sender.unit)
        try:
            fact = bench.gallery.best(node.unit) if node.kind == "neuron" else None
        except InputError:  # too few games for any fact
            fact = None
        senders.append(replace(sender, fact=fact[0], fact_f1=fact[1]) if fact else sender)
    return replace(found, inputs=replace(found.inputs, senders=tuple(senders)))
