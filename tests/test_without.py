"""Units set to their means at a position: the whole model run so, nothing without units, controls by drawn sets."""

import pytest
import torch
from oracles_ablation import run_at_means

from circuits.bitboards import bits_to_bool
from circuits.board_readers import BoardReader
from circuits.errors import InputError
from circuits.explanation.explain import explain
from circuits.explanation.means import acts_at, hooks, means
from circuits.explanation.run import run_position
from circuits.explanation.set_to_means import random_units, sizes, units_alike
from circuits.explanation.without import Without, checkpoint_of, named_units, without, without_units
from circuits.games import generate
from circuits.notation import LABELS, SQUARE_TOKEN, parse_unit
from circuits.plain import of

PLY, GAME = 14, 3
UNITS = "L0N3, L1H2 l1n40;L2N7"


@pytest.fixture(scope="module")
def readers():
    """Directions at random: what is asked here holds for any reader."""
    generator = torch.Generator().manual_seed(3)
    points = [f"blocks.{layer}.hook_resid_{point}" for layer in range(3) for point in ("mid", "post")]
    return {p: BoardReader(p, torch.randn(64, 64, 3, generator=generator), torch.zeros(64, 3)) for p in points}


@pytest.fixture(scope="module")
def reference():
    return generate(30, seed=21)


@pytest.fixture(scope="module")
def tokens(games):
    return games.tokens[GAME, : PLY + 1]


@pytest.fixture(scope="module")
def found(tiny, tokens, readers, reference) -> Without:
    return without(tiny, tokens, readers, reference, UNITS, draws=5, seed=2)


def slow(tiny, tokens, units, readers, reference):
    """The whole transcript run with each unit at its mean at the last ply, one edit a unit: logits, streams."""
    plain = of(tiny)
    acts = means(plain, reference, PLY, readers).acts
    return run_at_means(plain, tokens, units, acts, readers)


def test_it_is_the_whole_model_run_so(tiny, tokens, readers, reference, found, games):
    legal = bits_to_bool(games.boards().legal[GAME, PLY][None])[0]
    for outcome, units in ((found.base, ()), (found.changed, named_units(tiny, UNITS))):
        logits, streams = slow(tiny, tokens, units, readers, reference)
        p = logits.softmax(-1)
        for square, said in enumerate(outcome.probabilities):
            token = int(SQUARE_TOKEN[square])
            assert (said is None) == (token == 0) and (said is None or said == pytest.approx(float(p[token]), abs=1e-6))
        by_square = {s: float(p[int(SQUARE_TOKEN[s])]) for s in range(64) if SQUARE_TOKEN[s]}
        assert outcome.legal_mass == pytest.approx(sum(by_square[s] for s in by_square if legal[s]), abs=1e-6)
        first = sorted(by_square, key=lambda s: -by_square[s])[: int(legal.sum())]
        assert outcome.likeliest == tuple(LABELS[s] for s in first)
        assert outcome.error == 2 * sum(not legal[s] for s in first)
        for read in outcome.readings:
            classes = readers[read.point](streams[read.point]).softmax(-1)
            assert read.board == tuple(classes.argmax(-1).tolist())
            assert read.probability == pytest.approx(classes.max(-1).values.tolist(), abs=1e-4)
            assert read.right == sum(a == b for a, b in zip(read.board, found.position.board, strict=True))
    assert found.changed != found.base


def test_kl_and_its_controls_are_of_the_same_drawn_sets(tiny, tokens, readers, reference, found):
    units = named_units(tiny, UNITS)
    plain = of(tiny)
    acts = acts_at(plain.run(tokens[None].long(), save=hooks(3))[1], PLY, 3)
    size = sizes(plain, acts, means(plain, reference, PLY, readers).acts)
    base = slow(tiny, tokens, (), readers, reference)[0].log_softmax(-1)

    def kl(own) -> float:
        return float((base.exp() * (base - slow(tiny, tokens, own, readers, reference)[0].log_softmax(-1))).sum())

    assert found.kl == pytest.approx(kl(units), rel=1e-3) and found.kl > 0
    for spread, sets in (
        (found.random, random_units(plain, units, 5, 2)), (found.alike, units_alike(plain, units, size, 5, 2))
    ):  # fmt: skip
        slow_kl = [kl(own) for own in sets]
        expected = (sum(slow_kl) / 5, min(slow_kl), max(slow_kl))
        assert (spread.mean, spread.low, spread.high) == pytest.approx(expected, rel=1e-2, abs=1e-7)


def test_no_units_change_exactly_nothing(tiny, tokens, readers, reference):
    none = without(tiny, tokens, readers, reference, "")
    assert none.base == none.changed and none.units == () and none.kl == 0
    assert {none.random, none.alike} == {type(none.random)(0.0, 0.0, 0.0)}


def test_means_had_from_elsewhere_give_the_same(tiny, tokens, readers, reference, found):
    asked = []

    def at(ply):
        asked.append(ply)
        return means(of(tiny), reference, ply, readers)

    run = run_position(tiny, tokens, readers, reference, at)
    assert without_units(run, named_units(tiny, UNITS), reference, 5, 2) == found and asked == [PLY]
    with pytest.raises(InputError, match="explained behind 1 to 59"):
        run_position(tiny, generate(1, seed=0).tokens[0], readers, reference, at)
    assert asked == [PLY]  # no means are taken for what is refused


def test_units_are_named_with_their_means_and_the_record_reads_back(tiny, tokens, readers, reference, found):
    run = run_position(tiny, tokens, readers, reference)
    assert [row.unit for row in found.units] == ["L0N3", "L1H2", "L1N40", "L2N7"]
    for row in found.units:
        unit = parse_unit(row.unit)
        if unit.kind == "head":
            assert row.activation is None and row.mean is None
        else:
            assert row.activation == pytest.approx(float(run.acts.neurons[unit.layer, unit.index]))
            assert row.mean == pytest.approx(float(run.means.acts.neurons[unit.layer, unit.index]))
    assert Without.from_json(found.to_json()) == found and found.reference.games == 30
    assert found.checkpoint == checkpoint_of(run) == explain(tiny, tokens, readers, reference, draws=1).checkpoint


@pytest.mark.parametrize(
    "units, said",
    [
        ("L0N3 L0N3", "L0N3 is named twice"),
        (["L0N3", "l0n3"], "L0N3 is named twice"),
        ("L0N3 C4", "'C4' names no unit"),
        ("L9N3", "L9N3 is out of range"),
        ("L0H4", "L0H4 is out of range"),
    ],
)
def test_bad_units_are_refused(tiny, tokens, readers, reference, units, said):
    with pytest.raises(InputError, match=said):
        without(tiny, tokens, readers, reference, units)
