"""What is counted of rules: unrelated terms, further rules, shared rules, patterns; and the whole census of a model."""

import dataclasses

import pytest
import torch

from circuits.census import counts as counting
from circuits.census import families, partners, redundancy
from circuits.census.count_table import rows, text
from circuits.census.counts import ModelCounts, counts
from circuits.census.layer import Setting, census_of_layer
from circuits.census.patterns_covered import PatternColumns, covers, implied, pattern_census
from circuits.census.records import LayerCensus
from circuits.errors import InputError
from circuits.features import PATTERN_INDEX, PATTERNS, parse_pattern
from circuits.games import generate
from circuits.induction.records import NeuronRule, Score
from circuits.induction.sample import layers, sample
from circuits.pattern_neurons import PatternNeurons
from circuits.rules.logic import equivalent
from circuits.rules.symmetry import symmetric
from circuits.rules.text import parse_rule
from circuits.verdicts.records import Estimate

LINE = "C0 empty & D1 theirs & E2 mine"


@pytest.fixture(scope="module")
def ground(tiny):
    return sample(tiny, generate(260, seed=21))


def row(unit, rule, on=1.0, off=0.0, status="explained", tree=0.0):
    """A neuron's row with the rule given as text, or none."""
    score = None
    if rule is not None:
        n = len(parse_rule(rule).atoms)
        score = Score(rule, n, 1, on, off, 0.5, 0.1, 100, Estimate(0.6), 0.8, 0.8, 0.8, 0.7)
    return NeuronRule(unit, status, score and "tree", score, None, (), tree, 0.0, 0.0)


def noisy(holds, seed=0, sd=0.2):
    return holds.float() + sd * torch.randn(len(holds), generator=torch.Generator().manual_seed(seed))


# ---- how many rules one neuron carries --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "sizes"),
    [
        (LINE, [1]),
        ("C0 empty | D1 mine", [1, 1]),
        ("(C0 empty & D1 mine) | (D1 theirs & E5 played) | G6 flipped", [1, 2]),
        ("(A0 mine & B0 mine) | (C0 mine & D0 mine) | (B0 empty & C0 empty)", [3]),  # joined by the last
        ("legal C0 via SE x1 | E2 theirs | ply >= 40", [1, 2]),
    ],
)
def test_terms_that_share_a_square_go_together(rule, sizes):
    groups = families.term_groups(parse_rule(rule))
    assert sorted(map(len, groups)) == sizes
    assert {t for group in groups for t in group} == set(families.terms(parse_rule(rule)))
    squares = [families.squares(term) for group in groups for term in group[:1]]
    assert len(squares) == len(groups)


def test_only_terms_that_lift_the_activation_by_themselves_are_carried(ground):
    rule = parse_rule("C2 played | F5 flipped")
    packed = ground.held_out.packed
    both, one = packed.holds(rule), packed.holds(parse_rule("C2 played"))
    acts = torch.stack([noisy(both), noisy(one), noisy(both), noisy(both)])
    units = [row(f"L0N{i}", str(rule)) for i in range(4)]
    rules = [rule, rule, parse_rule(LINE), None]
    assert families.carried(rules, units, packed, acts) == [2, 1, 1, 0]


@pytest.fixture(scope="module")
def facts(ground):
    return families.further_facts(ground.tune, ground.held_out)


def test_further_rules_are_found_where_the_first_fails(ground, facts):
    first, second = parse_rule("C2 mine & C4 mine"), parse_rule("F5 flipped")
    near = parse_rule("C2 mine & ~(C4 mine)")  # shares squares: a near miss, nothing further
    sides = ground.tune, ground.held_out
    on = [side.packed.holds(first) for side in sides]
    acts = []
    for side, here in zip(sides, on, strict=True):
        extra = [side.packed.holds(second), side.packed.holds(near), torch.zeros(side.n)]
        acts.append(torch.stack([noisy(here + 0.8 * more) for more in extra]))
    holds = tuple(torch.stack([here] * 3) for here in on)
    found = families.further(facts, [first, first, None], torch.ones(3), holds, tuple(acts))
    assert found.found.tolist() == [True, False, False]
    assert str(facts.atoms[int(found.fact[0])]) == "F5 flipped"
    assert float(found.rise[0]) == pytest.approx(0.8, abs=0.05)
    assert int(found.fact[2]) == -1


def test_the_further_fact_is_the_best_of_all(ground, facts):
    """Against each fact's two means one by one; held-out R^2 from levels of the tuning games."""
    rule = parse_rule("C2 mine & C4 mine")
    acts = next(layers(ground, [1]))
    own = acts.tune[5:6], acts.held_out[5:6]
    fails = [~side.packed.holds(rule) for side in (ground.tune, ground.held_out)]
    found = families.further(facts, [rule], torch.ones(1), tuple(~f[None] for f in fails), own)
    y, z = own[0][0][fails[0]].double(), own[1][0][fails[1]].double()
    best, levels = -1.0, None
    for i, atom in enumerate(facts.atoms):
        here = facts.tune[i][fails[0]] > 0
        n = int(here.sum())
        if families.squares(atom) & families.squares(rule) or not 50 <= n <= len(y) - 50:
            continue
        on, off = y[here].mean(), y[~here].mean()
        error = (y - torch.where(here, on, off)).pow(2).sum() / (y - y.mean()).pow(2).sum()
        if on > off and 1 - error > best:
            best, levels = float(1 - error), (i, on, off)
    i, on, off = levels
    assert int(found.fact) == i
    predicted = torch.where(facts.held_out[i][fails[1]], on, off)
    r2 = 1 - (z - predicted).pow(2).sum() / (z - z.mean()).pow(2).sum()
    assert float(found.r2) == pytest.approx(float(r2), abs=1e-4)


# ---- how many neurons carry one rule ----------------------------------------------------------------------------


def test_equivalent_rules_are_one(ground):
    texts = [
        LINE,
        "legal C0 via SE x1",
        "F5 mine | F5 theirs",
        "F5 occupied",
        "~(F5 empty)",
        "C2 mine",
        "C2 mine & C4 mine",
    ]
    rules = {f"L0N{i}": parse_rule(rule) for i, rule in enumerate(texts)}
    groups = redundancy.carriers(rules, ground.held_out.packed)
    assert [group.units for group in groups] == [("L0N2", "L0N3", "L0N4"), ("L0N0", "L0N1"), ("L0N5",), ("L0N6",)]
    assert redundancy.shared(groups) == 5
    for group in groups:
        assert all(equivalent(group.rule, rules[unit]) for unit in group.units)


def test_images_are_one_up_to_symmetry(ground):
    images = symmetric(parse_rule(LINE))
    rules = {**images, "other": parse_rule("C0 empty & D1 theirs")}
    groups = redundancy.carriers(rules, ground.held_out.packed, maps=True)
    assert [set(group.units) for group in groups] == [set(images), {"other"}]
    assert redundancy.shared(redundancy.carriers(rules, ground.held_out.packed)) == 0


def test_rules_that_never_hold_in_the_sample_are_told_apart_by_logic(ground):
    rare = [" & ".join(f"A{i} {who}" for i in range(8)) + " & ply <= 20" for who in ("mine", "theirs")]
    rules = {text: parse_rule(text) for text in rare}
    assert not any(ground.held_out.packed.holds(rule).any() for rule in rules.values())
    assert len(redundancy.carriers(rules, ground.held_out.packed)) == 2


# ---- patterns ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        (LINE, [("legal C0 via SE x1", True)]),
        (f"{LINE} & F5 empty", [("legal C0 via SE x1", False)]),
        (f"({LINE}) | (F5 empty & E5 theirs & D5 mine)", [("legal C0 via SE x1", True), ("legal F5 via N x1", True)]),
        ("C0 empty & D1 theirs", []),
        ("legal C0 via E x2", [("legal C0 via E x2", True)]),
    ],
)
def test_terms_imply_patterns(ground, rule, found):
    columns = PatternColumns.of(ground.held_out.packed)
    assert sorted(implied(parse_rule(rule), columns)) == sorted(found)
    assert implied(None, columns) == []


def test_rules_cover_patterns_of_the_move_that_they_need(ground):
    columns = PatternColumns.of(ground.held_out.packed)
    seen = {str(p) for p, w in zip(PATTERNS, columns.words, strict=True) if w.any()}
    own = {p for p in seen if p.startswith("legal C0 ")}
    assert set(covers(parse_rule("C0 legal"), columns)) == own and len(own) > 8
    assert set(covers(parse_rule("C0 legal & D1 theirs"), columns)) == {p for p in own if " via SE " in p}
    assert covers(parse_rule(LINE), columns) == ["legal C0 via SE x1"]
    for rule in ("C0 empty", "C0 empty & D1 theirs", "C0 legal & C1 mine & C1 theirs"):
        assert covers(parse_rule(rule), columns) == []


def test_pattern_neurons_are_counted_by_layer():
    own = torch.zeros(3, 4, len(PATTERNS), dtype=torch.bool)
    which = [PATTERN_INDEX[parse_pattern(f"legal C0 via E x{i}")] for i in (1, 2)]
    own[1, 2, which] = True
    own[2, 0, which[0]] = True
    at = PatternNeurons(
        0.9,
        own.any(2),
        own.any(2) & (torch.arange(3) == 2)[:, None],
        own,
        own & (torch.arange(3) == 2)[:, None, None],
        8,
        4,
    )
    (found,) = pattern_census([at])
    assert [layer.released for layer in found.layers] == [(), ("L1N2",), ("L2N0",)]
    assert [layer.strict for layer in found.layers] == [(), (), ("L2N0",)]
    assert [layer.covered for layer in found.layers] == [0, 2, 1]
    assert (found.covered, found.strict_covered, found.covered_late) == (2, 1, 2)


# ---- the whole --------------------------------------------------------------------------------------------------

TEXTS = (LINE, "C2 played", "C2 mine | C2 theirs", "C2 occupied", "(C2 played & C4 mine) | F5 flipped", None)


@pytest.fixture(scope="module")
def whole(ground):
    """Censuses of two of the tiny model's layers, with rules that are invented."""
    setting = Setting(ground, {}, games=20)
    censuses, rules = [], []
    for acts in layers(ground, [0, 2]):
        own = [row(name, TEXTS[i % 6], status=("explained", "partly")[i % 2] if i % 6 < 5 else "unexplained",
                   tree=i / 128) for i, name in enumerate(acts.names)]  # fmt: skip
        censuses.append(census_of_layer(setting, acts, own))
        rules.append(own)
    return censuses, rules


def test_the_census_is_of_every_neuron_and_survives_json(whole):
    censuses, _ = whole
    for layer, census in zip((0, 2), censuses, strict=True):
        assert census.layer == layer
        assert [n.unit for n in census.neurons] == [f"L{layer}N{i}" for i in range(128)]
        assert LayerCensus.from_json(census.to_json()) == census
        assert census.board_bar is None and census.partner_games == 20
        assert set(census.chance) == {"identity", *partners.MAPS}
    by_rule = {text: censuses[0].neurons[i] for i, text in enumerate(TEXTS)}
    assert by_rule[LINE].exactly == ("legal C0 via SE x1",)
    assert by_rule["C2 played"].names_played and not by_rule["C2 played"].names_flipped
    assert by_rule[TEXTS[4]].names_flipped and by_rule[TEXTS[4]].names_played
    assert not by_rule[None].from_rule and by_rule[None].groups == 0 and by_rule[None].change > 0
    assert by_rule[LINE].change == 1.0
    for n in censuses[1].neurons:
        assert [p.map for p in n.partners] == list(partners.MAPS)
        assert all(p.same_rule is None for p in n.partners) or n.from_rule


def test_a_layer_without_rules_is_counted_too(ground):
    """No rule, a neuron that is dead, and a band too narrow for anything to be learnt in."""
    narrow = sample(ground.model, generate(260, seed=21), band=slice(9, 10))
    acts = next(layers(narrow, [2]))
    for side in (acts.train, acts.tune, acts.held_out):
        side[5] = 0.0
    own = [row(name, None if i else LINE, status="unexplained") for i, name in enumerate(acts.names)]
    census = census_of_layer(Setting(narrow, {}, games=20), acts, own)
    dead = census.neurons[5]
    assert (dead.by_mover, dead.by_move, dead.played_r2, dead.flipped_r2, dead.change, dead.twin_r) == (0,) * 6
    assert not dead.has_partner and all(n.further is None for n in census.neurons)
    counted = counts(narrow, [census], [own])
    assert (counted.rules, counted.distinct, counted.shared, counted.largest) == (0, 0, 0, ())
    assert counted.layers[0].literals is None


def test_counts_add_up(ground, whole):
    censuses, rules = whole
    counted = counts(ground, censuses, rules)
    assert ModelCounts.from_json(counted.to_json()) == counted
    first = counted.layers[0]
    # 22 of each of the first two rules, 21 of each of the others.
    assert (first.explained, first.partly, first.unexplained) == (64, 43, 21)
    assert counted.rules == 2 * 107
    assert counted.distinct == counted.distinct_turned == 4  # two of the five are equivalent
    assert counted.shared == counted.rules and first.shared == 107
    assert counted.largest[0].carriers == 2 * 42 and len(counted.largest[0].units) == counting.NAMED
    assert (first.patterns_covered, first.patterns_implied, first.patterns_exactly) == (1, 1, 1)
    assert first.tree == sum(i / 128 > 0.7 for i in range(128)) and first.tree_published is None
    assert first.played_in_rule == 22 + 21 and first.flipped_in_rule == 21
    assert first.terms == 1 + (21 + 21) / 107  # "C2 mine | C2 theirs" has two as it stands
    for layer, census in zip(counted.layers, censuses, strict=True):
        assert layer.any_partner == sum(any(p.found for p in n.partners) for n in census.neurons)
        assert max(layer.partners.values()) <= layer.any_partner <= sum(layer.partners.values())
        assert layer.all_partners <= min(layer.partners.values())


def test_the_table_says_what_was_counted(ground, whole):
    counted = counts(ground, *whole)
    table = {row.name: row for row in rows(counted)}
    assert table["explained by their rule"].ours == (64, 64) and table["explained by their rule"].total == 128
    assert table["tree R² > 0.7, grown as published"].ours == (None, None)
    assert table["tree R² > 0.7, grown as published"].published[0] == 825
    assert table["neurons whose rule another of the layer carries"].total == counted.shared
    lines = text(counted).splitlines()
    assert len(lines) == 1 + len(table) and lines[0].split() == ["L0", "L2", "all", "published"]


def test_rules_of_other_neurons_are_refused(ground, whole):
    censuses, rules = whole
    with pytest.raises(InputError, match="same neurons"):
        counts(ground, censuses, rules[::-1])
    acts = next(layers(ground, [0]))
    with pytest.raises(InputError, match="the census of L0 needs the rules of its 128 neurons"):
        census_of_layer(Setting(ground, {}), acts, rules[0][:-1])


def test_layers_may_be_asked_for_in_any_order(ground, whole):
    setting = Setting(ground, {}, games=20)
    later = setting.on_images(2).train
    first = setting.on_images(0).train
    torch.testing.assert_close(setting.on_images(2).train, later)
    assert first.shape == later.shape and not torch.equal(first, later)
    with pytest.raises(InputError, match="set up for layers"):
        Setting(ground, {}, wanted=[1]).on_images(0)


def test_records_are_frozen(whole):
    with pytest.raises(dataclasses.FrozenInstanceError):
        whole[0][0].neurons[0].unit = "L9N9"
