"""Rules on packed words against the plain way, whatever positions are asked about."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_strategies import rules

from circuits.errors import InputError
from circuits.features import LITERALS, PATTERNS, Features
from circuits.othello import random_games, replay
from circuits.rules import FALSE, TRUE, Line, Literal, passed, ply, sq
from circuits.rules import bits as rule_bits
from circuits.rules.bits import Packed

# beartype picks the item of a tuple that it checks at random
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")


@pytest.fixture(scope="module")
def boards():
    """12 games, some with a forced pass, with their last positions, which are not valid."""
    tokens = random_games(100, seed=3)
    with_pass = replay(tokens).passed.any(1)
    return replay(torch.cat([tokens[with_pass][:4], tokens[~with_pass][:8]]))


@pytest.fixture(scope="module")
def packings(boards):
    """Valid positions; a band; random ones of all, padding too; the last position of a game alone."""
    band = boards.valid.clone()
    band[:, :5] = band[:, 54:] = False
    some = torch.rand(boards.valid.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    one = torch.zeros_like(some)
    one[3, 20] = True
    return [Packed(boards, where) for where in (None, band, some, one)]


@settings(max_examples=100)
@given(rule=rules(), which=st.integers(0, 3))
def test_packed_rules_are_the_plain_ones(boards, packings, rule, which):
    packed = packings[which]
    expected = rule.holds(boards)[packed.where]
    assert torch.equal(packed.holds(rule), expected)
    assert packed.count(rule) == int(expected.sum())


@settings(max_examples=30)
@given(rule=rules(), chunk=st.integers(1, 5))
def test_the_size_of_a_piece_changes_nothing(packings, rule, chunk):
    before = packings[0].evaluate(rule)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rule_bits, "CHUNK", chunk)
        assert torch.equal(packings[0].evaluate(rule), before)


@pytest.mark.parametrize("back", [0, 2])
def test_columns_made_together_are_those_made_one_by_one(boards, back, monkeypatch):
    atoms = [Literal(s, name, back) for s in (0, 19, 63) for name in LITERALS]
    atoms += [Line(pattern, back) for pattern in PATTERNS[::17]] + [passed @ -back, (ply >= 10) @ -back]
    together, alone = Packed(boards), Packed(boards)
    monkeypatch.setattr(rule_bits, "_AT_ONCE", 128)
    together.prepare(atoms)
    for atom in atoms:
        assert torch.equal(together.column(atom), alone.column(atom)), atom
        assert torch.equal(alone.holds(atom), atom.holds(boards)[alone.where])


def test_positions_are_in_the_order_of_activations_and_features(boards, packings):
    packed, features = packings[1], Features(boards, packings[1].where)
    assert torch.equal(packed.holds(sq.C0.empty), features.column("C0 empty"))
    assert torch.equal(torch.stack([packed.row, packed.ply], 1), packed.where.nonzero())
    assert len(packed) == packed.n == int(packed.where.sum())
    assert packed.holds(ply.between(10, 20)).sum() == ((packed.ply >= 10) & (packed.ply <= 20)).sum()


@given(n=st.integers(1, 300), seed=st.integers(0, 1000))
def test_packing_and_back(boards, n, seed):
    where = (torch.arange(boards.valid.numel()) < n).view(boards.valid.shape)
    packed = Packed(boards, where)
    holds = torch.rand(packed.n, generator=torch.Generator().manual_seed(seed)) < 0.5
    words = packed.pack(holds)
    assert words.shape == (-(-packed.n // 64),) and torch.equal(packed.unpack(words), holds)
    assert bool(words[0] & 1) == bool(holds[0])
    # Bits past the last position stay 0, in what is evaluated too.
    used = packed.n - 64 * (len(words) - 1)
    for last in (words[-1], packed.evaluate(TRUE)[-1], packed.evaluate(~sq.C0.empty & ~passed)[-1]):
        assert used == 64 or int(last) >> used == 0


def test_constants(packings):
    packed = packings[0]
    assert packed.holds(TRUE).all() and packed.count(FALSE) == 0
    assert packings[2].count(TRUE) == int(packings[2].where.logical_and(packings[2]._boards.valid).sum())


def test_a_result_is_the_callers_own(packings):
    packed = packings[0]
    column = packed.column(sq.C0.empty).clone()
    packed.evaluate(sq.C0.empty).fill_(-1)
    packed.evaluate(~sq.C0.empty).fill_(-1)
    assert torch.equal(packed.evaluate(sq.C0.empty), column)


def test_what_cannot_be_packed(boards):
    with pytest.raises(InputError, match="no positions"):
        Packed(boards, torch.zeros_like(boards.valid))
    with pytest.raises(InputError, match=r"\[12, 3\].*\[12, 60\]"):
        Packed(boards, boards.valid[:, :3])
    with pytest.raises(InputError, match="from ply 0"):
        Packed(boards[0])
    with pytest.raises(InputError, match="one boolean a position"):
        Packed(boards).pack(torch.zeros(3, dtype=torch.bool))
