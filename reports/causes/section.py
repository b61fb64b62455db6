"""The causal tests of one neuron: taken out, compared between counterfactual runs, and patched alone.

Everything is measured on the gallery's held-out games. The fact that positions and pairs are chosen by, and what the
neuron is replaced by, come from its training games.
"""

from circuits.causes.pairs import Pairs
from circuits.causes.recorded_games import Paired
from circuits.features import board_state
from reports.causes import records as c
from reports.causes.ablation import without
from reports.causes.downstream import downstream
from reports.causes.places import idle
from reports.causes.subject import Subject
from reports.causes.upstream import upstream
from reports.headline import what
from reports.records import NeuronRecord
from reports.workbench import Workbench


def causes(bench: Workbench, record: NeuronRecord) -> c.Causes:
    """The causal section of a neuron's page.

    Args:
        record: the rest of its record: its best fact decides which positions and pairs are asked about.
    """
    subject = Subject(bench, record)
    if (why := idle(subject)) is not None:
        return c.Causes(None, None, None, None, None, why)
    taken_out = without(subject)
    pairs, no_pairs = subject.pairs
    if pairs is None:
        return c.Causes(taken_out, None, None, None, no_pairs)
    runs = Paired.of(subject.recorded, pairs)
    return c.Causes(taken_out, _pair_set(subject, pairs), upstream(subject, runs), downstream(subject, runs), None)


def _pair_set(subject: Subject, pairs: Pairs) -> c.PairSet:
    ends = pairs.clean_end, pairs.corrupt_end
    squares = (board_state(ends[0]) != board_state(ends[1])).sum(1)
    clean, corrupt = pairs.newly_legal()
    return c.PairSet(
        fact=what(subject.fit),
        pairs=len(pairs),
        games=len(pairs.game.unique()),
        kinds=pairs.kinds(),
        squares=int(squares.median()),
        legal=int((clean | corrupt).sum(1).median()),
        plies=int((pairs.ply - pairs.first).median()),
        source=pairs.source,
    )
