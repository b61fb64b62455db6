"""The census of a layer: everything that is counted of its neurons, given their rules and their activations.

    setting = Setting(sample, readers, layers)          once for a model
    for acts in layers(sample): census_of_layer(setting, acts, rules)

One forward pass over the images of some held-out games goes beside that of the sample, layer by layer.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache, cached_property

import torch
from jaxtyping import Bool
from torch import Tensor

from circuits.board_readers import BoardReader
from circuits.census import families, partners, roles, writers
from circuits.census.patterns_covered import PatternColumns, implied
from circuits.census.records import LayerCensus, NeuronCensus, Partner, Written
from circuits.census.redundancy import same
from circuits.errors import InputError
from circuits.induction.records import NeuronRule
from circuits.induction.sample import LayerActs, Sample, Side, layers
from circuits.rules import Literal, Rule
from circuits.rules.symmetry import symmetric
from circuits.rules.text import parse_rule

#: held-out games over which the final LayerNorm's scale is averaged
_SCALE_GAMES = 64


class Setting:
    """What the censuses of all layers of a model share; made when first asked for."""

    def __init__(
        self,
        sample: Sample,
        readers: Mapping[str, BoardReader],
        wanted: Sequence[int] | None = None,
        games: int = partners.GAMES,
    ):
        """
        Args:
            readers: board probes by point; a layer without one behind it has no writes to the board.
            wanted: the layers that will be asked for; all if not given.
            games: held-out games whose images are run.
        """
        self.sample, self.readers = sample, readers
        self.images = partners.images(sample, games)
        self._wanted = sorted(set(range(sample.model.shape.n_layers) if wanted is None else wanted))
        self._left, self._pass = [], None

    def on_images(self, layer: int) -> LayerActs:
        """A layer's activations on the images; its sides are the maps. Layers not asked for in order cost a pass each.

        Raises:
            InputError: a layer that was not wanted.
        """
        if layer not in self._wanted:
            raise InputError(f"the census was set up for layers {self._wanted}, and L{layer} is none of them")
        if layer not in self._left:
            self._left = [i for i in self._wanted if i >= layer]
            self._pass = layers(self.images, self._left)
        while True:
            acts, found = next(self._pass), self._left.pop(0)
            if not self._left:
                self._pass.close()
            if found == layer:
                return acts

    @cached_property
    def columns(self) -> roles.Columns:
        return roles.Columns.of(self.sample)

    @cached_property
    def facts(self) -> families.FurtherFacts:
        return families.further_facts(self.sample.tune, self.sample.held_out)

    @cached_property
    def patterns(self) -> PatternColumns:
        return PatternColumns.of(self.sample.held_out.packed)

    @cached_property
    def scale(self) -> float:
        """Mean scale of the final LayerNorm on held-out games."""
        model, out = self.sample.model, self.sample.held_out
        hook = "ln_final.hook_scale"
        _, acts = model.run(out.games.inputs[:_SCALE_GAMES], save=[hook])
        return float(acts[hook][..., 0][out.packed.where[:_SCALE_GAMES].to(model.device)].mean())

    @cached_property
    def choose(self) -> Bool[Tensor, "n"]:
        """The positions of the images on which partners are chosen: those of half of the games."""
        group = self.images.held_out.group
        return group < (int(group.max()) + 1) // 2


def census_of_layer(setting: Setting, acts: LayerActs, rules: Sequence[NeuronRule]) -> LayerCensus:
    """Everything counted of one layer.

    Args:
        acts: of the setting's sample; rules: one for each neuron, in order.

    Raises:
        InputError: not a rule for each neuron of the layer.
    """
    if [row.unit for row in rules] != list(acts.names):
        raise InputError(f"the census of L{acts.layer} needs the rules of its {len(acts.names)} neurons, in order")
    layer, sample, model, names = acts.layer, setting.sample, setting.sample.model, acts.names
    parsed = [read(row.rule.rule) if row.rule else None for row in rules]
    found = roles.roles(setting.columns, acts)

    levels = [(row.rule.mean_on, row.rule.mean_off) if row.rule else (None, None) for row in rules]
    change = writers.change(acts.train, *map(list, zip(*levels, strict=True)))
    reader = setting.readers.get(f"blocks.{layer}.hook_resid_post")
    board = None if reader is None else writers.board_writes(model, layer, reader, change, sample.seed)
    moves = writers.move_writes(model, layer, change, setting.scale, sample.seed)

    matched = _partners(setting, acts)
    on = [truth(parsed, side) for side in (sample.tune, sample.held_out)]
    gap = torch.tensor([row.rule.mean_on - row.rule.mean_off if row.rule else 1.0 for row in rules])
    more = families.further(setting.facts, parsed, gap, (on[0], on[1]), (acts.tune, acts.held_out))
    groups = families.carried(parsed, rules, sample.held_out.packed, acts.held_out)

    wrote = [_written(w, len(rules)) for w in (board, moves)]
    extra = zip(parsed, found_literals(found), *wrote, groups, more.found.tolist(), strict=True)
    neurons = []
    for i, (rule, literals, (n_board, to_board), (n_moves, to_moves), n_groups, unrelated) in enumerate(extra):
        facts = {atom.name for atom in rule.atoms if isinstance(atom, Literal)} if rule is not None else set()
        lines = implied(rule, setting.patterns)
        fact = int(more.fact[i])
        neurons.append(
            NeuronCensus(
                unit=names[i],
                by_mover=found.by_mover[i], by_move=found.by_move[i], peak_ply=found.peak[i],
                **literals, names_played="played" in facts, names_flipped="flipped" in facts,
                change=change[i], from_rule=rule is not None,
                board_writes=n_board, board=to_board, move_writes=n_moves, moves=to_moves,
                partners=_row(matched, i, layer, parsed, sample.held_out),
                twin=f"L{layer}N{int(matched['identity'].partner[i])}",
                twin_r=matched["identity"].r[i], has_twin=matched["identity"].found[i],
                groups=n_groups,
                further=str(setting.facts.atoms[fact]) if fact >= 0 else None,
                further_r2=float(more.r2[i]) if fact >= 0 else None,
                further_rise=float(more.rise[i]) if fact >= 0 else None,
                unrelated=unrelated,
                patterns=tuple(name for name, _ in lines), exactly=tuple(name for name, whole in lines if whole),
            )
        )  # fmt: skip
    return LayerCensus(
        layer, tuple(neurons), {name: found.chance for name, found in matched.items()},
        None if board is None else board.bar, moves.bar, len(setting.images.held_out.games),
    )  # fmt: skip


@cache
def read(text: str) -> Rule:
    """`parse_rule`, once for each text."""
    return parse_rule(text)


def truth(rules: Sequence[Rule | None], side: Side) -> Bool[Tensor, "neuron n"]:
    """Where each rule holds at a side's positions; nowhere for a neuron without one."""
    side.packed.prepare(atom for rule in rules if rule is not None for atom in rule.atoms)
    found = torch.zeros(len(rules), side.n, dtype=torch.bool)
    for row, rule in zip(found, rules, strict=True):
        if rule is not None:
            row.copy_(side.packed.holds(rule))
    return found


def found_literals(found: roles.Roles) -> Iterator[dict]:
    """By neuron, the best literals as fields of `NeuronCensus`."""
    kinds = {"played": found.played, "flipped": found.flipped}
    for i in range(len(found.by_ply)):
        fields = {}
        for kind, best in kinds.items():
            skill = float(best.skill[i])
            fields |= {
                kind: roles.name(kind, int(best.square[i])),
                f"{kind}_r2": float(best.r2[i]),
                f"{kind}_skill": None if skill != skill else skill,
            }
        yield fields


def _written(writes: writers.Writes | None, n: int) -> list[tuple[int, tuple[Written, ...]]]:
    if writes is None:
        return [(0, ())] * n
    rows = (tuple(Written(what, by) for what, by in row) for row in writes.written)
    return list(zip(writes.counts.tolist(), rows, strict=True))


def _partners(setting: Setting, acts: LayerActs) -> dict[str, partners.Matches]:
    """Matches under each map, and under the identity those of other neurons."""
    shown = setting.on_images(acts.layer)
    own = acts.held_out[:, : setting.images.held_out.n]
    ply = setting.images.held_out.ply
    halves = partners.Halves.of(own, ply, setting.choose)
    found = {"identity": partners.matches(halves, halves, twins=True)}
    for name, side in zip(partners.MAPS, (shown.train, shown.tune, shown.held_out), strict=True):
        found[name] = partners.matches(partners.Halves.of(side, ply, setting.choose), halves)
    return found


def _row(
    matched: Mapping[str, partners.Matches], i: int, layer: int, rules: Sequence[Rule | None], side: Side
) -> tuple[Partner, ...]:
    """A neuron's partners as a record each."""
    rows, images = [], {} if rules[i] is None else symmetric(rules[i])
    for name in partners.MAPS:
        at = matched[name]
        other = int(at.partner[i])
        alike = same(images[name], rules[other], side.packed) if images and rules[other] is not None else None
        rows.append(Partner(name, f"L{layer}N{other}", at.r[i], at.second[i], at.found[i], alike))
    return tuple(rows)
