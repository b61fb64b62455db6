"""From a workbench to a verdict: which games it is made on, and how it is made again."""

from collections.abc import Sequence
from dataclasses import replace
from shlex import quote
from typing import TYPE_CHECKING

import torch

from circuits.notation import Unit
from circuits.rule_readings import Ground
from circuits.rule_subjects import Subject
from circuits.rules import Claim, Rule
from circuits.verdict import test
from circuits.verdict_records import Verdict

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


def verdict(bench: "Workbench", unit: str | Unit | Sequence[str | Unit] | Subject, rule: str | Rule | Claim) -> Verdict:
    """The verdict on a rule, with the command and the Python line that make it again.

    Raises:
        InputError: as `circuits.verdict.test`.
    """
    found = test(bench.ground, unit, rule)
    if isinstance(unit, Subject):  # made in Python: no line of ours makes it again
        return found
    return replace(
        found,
        command=f"othello-circuits test {quote(found.unit)} {quote(found.claim)}{bench.options}",
        python=f"from reports import open_model; open_model({bench.arguments}).test({found.unit!r}, {found.claim!r})",
    )
