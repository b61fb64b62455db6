"""Trees for many neurons at once are scikit-learn's, split for split; sums over subsets are exact."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import oracles_trees
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import r2_score

from circuits.activations import stream
from circuits.errors import InputError
from circuits.features import literal_bits
from circuits.games import MIDDLE_BAND
from circuits.induction import bytes as byte_sums
from circuits.induction import growth, memory
from circuits.induction.literals import PUBLISHED, STANDARD, columns, varying
from circuits.induction.trees import Trees, grow
from circuits.rules import Passed, sq
from circuits.rules.bits import Packed

LEAF, SPLIT = 20, 40


@pytest.fixture(scope="module")
def board(games):
    """The positions of 40 games, and the published literals that vary there."""
    boards = games.boards()
    where = torch.zeros_like(boards.valid)
    where[:, MIDDLE_BAND] = boards.valid[:, MIDDLE_BAND]
    packed = Packed(boards, where)
    holds = columns(packed, PUBLISHED)
    kept = varying(holds, LEAF)
    return SimpleNamespace(
        packed=packed, where=where, all=holds, holds=holds[:, kept].contiguous(), atoms=[PUBLISHED[i] for i in kept]
    )


@pytest.fixture(scope="module")
def planted():
    """Literals at 9000 positions (three chunks, the last not full), and activations that follow some, with noise."""
    g = torch.Generator().manual_seed(3)
    holds = torch.rand(9000, 24, generator=g) < torch.linspace(0.04, 0.9, 24)
    a, b, c, d = (holds[:, i].float() for i in (9, 10, 13, 17))
    noise = torch.randn(4, 9000, generator=g)
    rows = [2 * a * b + 0.1 * noise[0], c * (1 - d) - b + 0.5 * noise[1], noise[2].exp(), 3 * a - a * c + noise[3]]
    return holds, torch.stack(rows)


def same_as_sklearn(trees, holds, acts, depth, leaf, split, weight=None):
    """How many splits there were, and how many were ties decided otherwise."""
    splits = ties = 0
    times = None if weight is None else weight.numpy()
    for neuron, y in enumerate(acts.double().numpy()):
        other = oracles_trees.of_sklearn(holds.numpy(), y, depth, leaf, split, times)
        ours = oracles_trees.nodes(trees, neuron)
        compared, tied = oracles_trees.differences(ours, other.nodes, holds.numpy(), y, times)
        splits, ties = splits + compared, ties + tied
        if not tied:
            assert len(ours) == len(other.nodes)
            expected = other.estimator.predict(holds.numpy().astype(np.float32))
            assert np.allclose(trees[neuron].predict(holds)[0].numpy(), expected, atol=1e-9)
    return splits, ties


@pytest.mark.parametrize("depth", [1, 4, 8])
def test_planted_trees_are_those_of_sklearn(planted, depth):
    holds, acts = planted
    splits, ties = same_as_sklearn(grow(holds, acts, depth, 50, 100), holds, acts, depth, 50, 100)
    assert splits >= 4 * (2**depth if depth < 8 else 100)
    assert ties == 0  # of noise at so many positions no two literals gain the same


@pytest.mark.parametrize("layer", [0, 2])
def test_trees_of_real_neurons_are_those_of_sklearn(tiny, games, board, layer):
    hook = f"blocks.{layer}.mlp.hook_post"
    (batch,) = stream(tiny, games, [hook], batch_size=len(games))
    acts = batch.acts[hook][board.where[:, : batch.acts[hook].shape[1]]].T[::8].contiguous()
    trees = grow(board.holds, acts, 6, LEAF, SPLIT)
    splits, ties = same_as_sklearn(trees, board.holds, acts, 6, LEAF, SPLIT)
    assert splits > 500
    assert ties < 0.1 * splits  # some literals hold at the same positions of a small node
    assert (trees.r2(board.holds, acts) > 0.3).any()


def test_weights_count_positions_several_times(planted):
    holds, acts = planted
    weight = torch.randint(0, 4, (len(holds),), generator=torch.Generator().manual_seed(1))
    trees = grow(holds, acts, 5, 50, 100, weight)
    assert same_as_sklearn(trees, holds, acts, 5, 50, 100, weight)[1] == 0
    assert trees.n[:, 0].tolist() == [int(weight.sum())] * len(acts)
    ones = grow(holds, acts, 5, 50, 100, torch.ones_like(weight))
    for name in ("literal", "n", "value", "error"):
        assert torch.equal(getattr(ones, name), getattr(grow(holds, acts, 5, 50, 100), name))


@settings(max_examples=60)
@given(st.data())
def test_every_tree_is_the_one_of_the_definition(data):
    n, literals = data.draw(st.integers(4, 60)), data.draw(st.integers(1, 6))
    g = torch.Generator().manual_seed(data.draw(st.integers(0, 10**6)))
    holds = torch.rand(n, literals, generator=g) < 0.4
    holds[0], holds[1] = True, False
    if literals > 2:  # one that says the same, one that says the contrary
        holds[:, 2], holds[:, 1] = ~holds[:, 0], holds[:, 0]
    acts = torch.randn(2, n, generator=g)
    acts[1] = (acts[1] > 0.3).float() * data.draw(st.sampled_from([0.0, 1.0, 1e-3, 1e4]))  # few values, so pure nodes
    weight = data.draw(st.none() | st.just(torch.randint(1, 3, (n,), generator=g)))
    depth, leaf, split = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(2, 9)))
    trees = grow(holds, acts[:1], depth, leaf, split, weight)
    times = None if weight is None else weight.numpy()
    expected = oracles_trees.grown(holds.numpy(), acts[0].double().numpy(), depth, leaf, split, times)
    ours = oracles_trees.nodes(trees, 0)
    assert {i: row[0] for i, row in ours.items()} == {i: row[0] for i, row in expected.items()}
    for i, row in expected.items():
        assert ours[i][1:] == pytest.approx(row[1:], abs=1e-9)
    # Where other literals gain as much by chance, which is taken is open; that nodes stop where they are pure is not.
    two = grow(holds, acts[1:], depth, leaf, split, weight)
    inner, n_pure = two.literal[0] >= 0, two.error[0] <= 1e-9 * two.error[0, 0]
    assert not (inner & n_pure).any()
    assert two.is_leaf[0, 0] or (two.n[0][two.is_leaf[0]] >= leaf).all()


def test_an_exact_tree_stops_where_nothing_varies(planted):
    holds, _ = planted
    y = (holds[:, 9] & holds[:, 13]).float()[None]
    trees = grow(holds, y, 8, 50, 100)
    assert same_as_sklearn(trees, holds, y, 8, 50, 100)[1] == 0
    assert int((trees.n > 0).sum()) == 5
    assert sorted(trees.value[0][trees.is_leaf[0]].tolist()) == pytest.approx([0, 0, 1], abs=1e-12)
    assert float(trees.r2(holds, y)) == pytest.approx(1.0, abs=1e-12)


def test_of_literals_that_say_the_same_the_first_is_taken(planted):
    holds, acts = planted
    doubled = torch.cat([~holds[:, 9:10], holds, holds, ~holds], 1)
    once, twice = grow(holds, acts, 5), grow(doubled, acts, 5)
    assert twice.literal.max() <= holds.shape[1]
    as_once = torch.where(twice.literal == 0, 10, twice.literal) - 1
    assert torch.equal(as_once.clamp_min(-1)[:, 0], once.literal[:, 0])
    assert torch.allclose(once.r2(holds, acts), twice.r2(doubled, acts), atol=1e-12)


def test_a_constant_neuron_is_one_leaf(planted):
    holds, acts = planted
    trees = grow(holds, torch.stack([torch.full_like(acts[0], -0.3), acts[0]]), 4)
    assert trees.is_leaf[0].nonzero().flatten().tolist() == [0]
    assert float(trees.value[0, 0]) == pytest.approx(-0.3)
    assert trees.error[0, 0] <= 1e-12
    assert torch.equal(trees.literal[1], grow(holds, acts[:1], 4).literal[0])
    assert trees.r2(holds, torch.full_like(acts[:2], 0.1))[0] == 0


def test_bounds_on_leaves_and_splits(planted):
    holds, acts = planted
    few = grow(holds, acts, 8, 400, 1500)
    assert few.n[few.is_leaf].min() >= 400
    assert few.n[few.literal >= 0].min() >= 1500
    assert grow(holds, acts, 2, 5000, 100).is_leaf[:, 0].all()
    assert grow(holds, acts, 2, 1, len(holds) + 1).is_leaf[:, 0].all()


def test_children_share_out_their_parent(planted):
    holds, acts = planted
    trees = grow(holds, acts, 6)
    neuron, node = (trees.literal >= 0).nonzero(as_tuple=True)
    off, on = 2 * node + 1, 2 * node + 2
    n, value, error = ((x[neuron, node], x[neuron, off], x[neuron, on]) for x in (trees.n, trees.value, trees.error))
    assert torch.equal(n[0], n[1] + n[2])
    assert torch.allclose(value[0] * n[0], value[1] * n[1] + value[2] * n[2])
    assert (error[0] >= error[1] + error[2] - 1e-9).all()
    leaves = trees.leaves(holds)
    for i in range(len(trees)):
        counts = torch.bincount(leaves[i], minlength=trees.n.shape[1])
        assert torch.equal(counts, torch.where(trees.is_leaf[i], trees.n[i], 0))


def test_cutting_is_growing_less(planted):
    holds, acts = planted
    deep = grow(holds, acts, 7)
    for depth in (1, 3, 6, 7):
        cut, grown = deep.cut(depth), grow(holds, acts, depth)
        assert cut.depth == depth
        assert torch.equal(cut.literal, grown.literal) and torch.equal(cut.n, grown.n)
        assert torch.allclose(cut.value, grown.value) and torch.allclose(cut.error, grown.error)
    assert deep.cut(0).is_leaf.all()
    with pytest.raises(InputError, match="cannot be cut to 8: give 0 to 7"):
        deep.cut(8)


def test_r2_on_other_positions(planted):
    holds, acts = planted
    trees = grow(holds[:6000], acts[:, :6000], 6)
    by_depth = trees.r2_by_depth(holds[6000:], acts[:, 6000:])
    for depth in range(7):
        predicted = trees.cut(depth).predict(holds[6000:]).numpy()
        for i in range(len(acts)):
            expected = r2_score(acts[i, 6000:].numpy(), predicted[i])
            assert float(by_depth[depth, i]) == pytest.approx(expected, abs=1e-6)
    assert torch.equal(trees.r2(holds[6000:], acts[:, 6000:]), by_depth[-1])
    assert torch.equal(trees[[2, 0]].predict(holds), trees.predict(holds)[[2, 0]])


def test_in_batches_the_trees_are_the_same(planted, monkeypatch):
    holds, acts = planted
    whole = grow(holds, acts, 5)
    monkeypatch.setattr(growth, "BUDGET", growth.needed(len(holds), holds.shape[1], 5) * 3)
    assert growth.at_once(len(holds), holds.shape[1], 5, holds.device) == 3
    assert growth.at_once(len(holds), holds.shape[1], 5, holds.device, threads=2) == 1
    monkeypatch.setattr(growth, "AT_ONCE", 1)
    monkeypatch.setattr(byte_sums, "ROWS", 5)
    batched = grow(holds, acts, 5)
    for name in ("literal", "n", "value", "error"):
        assert torch.equal(getattr(batched, name), getattr(whole, name))


def test_on_several_threads_the_trees_are_the_same(planted):
    holds, acts = planted
    alone, before = grow(holds, acts, 5), torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        together, r2 = grow(holds, acts, 5), alone.r2(holds, acts)
        assert torch.get_num_threads() == 3
        with pytest.raises(InputError, match="neuron 0 has 9,000 activations"):
            grow(holds, acts / 0, 5)
        with ThreadPoolExecutor(1) as pool:  # what threads made later begin with
            assert pool.submit(torch.get_num_threads).result() == torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    for name in ("literal", "n", "value", "error"):
        assert torch.equal(getattr(together, name), getattr(alone, name))
    assert torch.equal(r2, alone.r2(holds, acts))


# ---- sums of bytes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("instructions", ["AVX512", "AVX2"])
def test_sums_over_subsets_are_exact(planted, monkeypatch, instructions):
    holds, acts = planted
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: instructions)
    y = acts.double() - acts.double().mean(1, keepdim=True)
    values, total = byte_sums.digits(y)
    step = y.abs().amax(1) / byte_sums.LARGEST
    steps = (y / step[:, None]).round().long()
    assert torch.equal(total, steps.sum(1))
    subset = torch.rand(3, len(holds), generator=torch.Generator().manual_seed(0)) < 0.3
    neuron = torch.tensor([2, 0, 2])
    n, s = byte_sums.Products(holds).sums(byte_sums.pack(subset.T), neuron, values)
    inside = subset.long()[:, :, None] * holds.long()
    assert torch.equal(n.long(), inside.sum(1))
    assert torch.equal(s, (inside * steps[neuron][:, :, None]).sum(1))
    # What the rest of a whole sums to is exactly the whole less the part.
    rest = byte_sums.Products(holds).sums(byte_sums.pack(~subset.T), neuron, values)
    whole = byte_sums.Products(holds).sums(byte_sums.everywhere(len(holds), holds.device).expand(3, -1), neuron, values)
    assert torch.equal(rest[0], whole[0] - n) and torch.equal(rest[1], whole[1] - s)


def test_packing_is_undone_by_unpacking(planted):
    holds, _ = planted
    octets = byte_sums.pack(holds)
    assert torch.equal(byte_sums.unpack(octets)[:, : len(holds)], -holds.T.to(torch.int8))
    assert not byte_sums.unpack(octets)[:, len(holds) :].any()


# ---- literals --------------------------------------------------------------------------------------------------


def test_columns_say_where_atoms_hold(games, board):
    boards = games.boards()
    some = [*PUBLISHED[::37], sq.C2.legal, sq.D5.played @ -1, *STANDARD[-30::5], Passed()]
    holds = columns(board.packed, some)
    for i, atom in enumerate(some):
        assert torch.equal(holds[:, i], atom.holds(boards)[board.where]), str(atom)
    assert holds.is_contiguous()
    squares = literal_bits(boards, "theirs")[board.where][:, None] >> torch.arange(64) & 1
    assert torch.equal(board.all[:, 64:128], squares.bool())


def test_the_lists_of_literals():
    assert len(set(PUBLISHED)) == len(PUBLISHED) == 320
    assert len(set(STANDARD)) == len(STANDARD) <= 512
    assert STANDARD[:320] == PUBLISHED


def test_literals_that_hardly_vary_are_left_out():
    holds = torch.zeros(100, 4, dtype=torch.bool)
    holds[:30, 0], holds[:29, 1], holds[:71, 2], holds[:70, 3] = True, True, True, True
    assert varying(holds, 30).tolist() == [0, 3]
    assert varying([holds, holds[10:]], 20).tolist() == [0, 2, 3]
    with pytest.raises(InputError, match=r"none of 4 literals holds at 60 positions and fails at 60: .* reaches 30 of"):
        varying(holds, 60)


# ---- refusals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h, a: (h, a.index_fill(1, torch.tensor([4, 7]), float("nan"))), "neuron 0 has 2 activations of 200"),
        (lambda h, a: (h, torch.cat([a, a / 0])), "neuron 2 has 200 activations of 200 that are NaN or infinite"),
        (lambda h, a: (torch.cat([h, torch.ones(200, 1, dtype=torch.bool)], 1), a), "literal 3 holds at 200 of 200"),
        (
            lambda h, a: (h.index_fill(1, torch.tensor([1]), False), a),
            "literal 1 holds at 0 of 200 positions",
        ),
        (lambda h, a: (h.repeat(1, 171), a), "513 literals: trees are grown on 1 to 512"),
        (lambda h, a: (h[:150], a), "activations at 200 positions, and literals at 150"),
        (lambda h, a: (h[:0], a[:, :0]), "no positions are given"),
    ],
)
def test_what_cannot_be_grown_on(change, message):
    g = torch.Generator().manual_seed(0)
    holds, acts = torch.rand(200, 3, generator=g) < 0.5, torch.randn(2, 200, generator=g)
    with pytest.raises(InputError, match=message) as error:
        grow(*change(holds, acts), 2, 5, 10)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "depth 0: give 1 to 12"),
        ({"depth": 13}, "depth 13: give 1 to 12"),
        ({"leaf": 0}, "leaf 0, split 100"),
        ({"split": 1}, "leaf 50, split 1"),
        ({"weight": torch.full((200,), 128)}, "weights are 128 to 128: .* 0 to 127"),
        ({"weight": torch.full((200,), -1)}, "weights are -1 to -1"),
        ({"weight": torch.zeros(200, dtype=torch.int64)}, "not 0 everywhere"),
        ({"weight": torch.ones(3, dtype=torch.int64)}, r"weights have the shape \[3\]: give one a position, 200"),
    ],
)
def test_options_that_mean_nothing(options, message):
    g = torch.Generator().manual_seed(0)
    holds, acts = torch.rand(200, 3, generator=g) < 0.5, torch.randn(2, 200, generator=g)
    with pytest.raises(InputError, match=message):
        grow(holds, acts, **options)


def test_too_little_memory_is_said_beforehand(board, monkeypatch):
    monkeypatch.setattr(memory, "free", lambda device: 100_000)
    n = board.packed.n
    with pytest.raises(
        InputError, match=rf"320 literals at {n:,} positions take 0.0 GB and 0.0 GB are free on cpu: \d+"
    ):
        columns(board.packed, PUBLISHED)
    with pytest.raises(InputError, match=r"one tree of depth 8 on .* literals at .* positions takes 0.0 GB to grow"):
        grow(board.holds, torch.randn(1, n), 8)
    monkeypatch.setattr(memory, "free", lambda device: None)  # where nobody says what is free, nothing is refused
    assert columns(board.packed, PUBLISHED).shape == (n, 320)


def test_trees_ask_about_literals_that_are_there(planted):
    holds, acts = planted
    trees = grow(holds, acts, 3)
    with pytest.raises(InputError, match="the trees ask about literal"):
        trees.predict(holds[:, :3])
    with pytest.raises(InputError, match=r"activations have the shape \[3, 9000\], and 4 trees on 9,000 positions"):
        trees.r2(holds, acts[:3])
    assert isinstance(trees[:2], Trees) and len(trees[:2]) == 2


def test_of_no_neurons_there_are_no_trees(planted):
    holds, acts = planted
    trees = grow(holds, acts[:0], 3)
    assert len(trees) == 0 and trees.depth == 3
    assert trees.predict(holds).shape == trees.leaves(holds).shape == (0, len(holds))
    assert trees.r2(holds, acts[:0]).shape == (0,)
