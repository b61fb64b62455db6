"""What units add to moves: against whole passes with a hook, sums by hand, and what is refused."""

import numpy as np
import pytest
import torch
from scipy.stats import ttest_ind
from test_atlas_ablations import BAND, games, means, model, plies_of  # noqa: F401  (fixtures)

from circuits.atlas.ablations import ablate_units, drawn_moves
from circuits.atlas.move_effects import CONTROL, REAL, MoveEffects
from circuits.bitboards import bits_to_bool
from circuits.errors import InputError
from circuits.notation import PLAYABLE


@pytest.fixture(scope="module")
def found(model, games, means):  # noqa: F811
    return ablate_units(model, games, *means, BAND).moves


def slow(model, games, means, layer, kind, unit):  # noqa: F811
    """By move, the effects of one unit where the move is legal and where it is illegal and its square empty."""
    boards, seen = games.boards(), {where: {move: [] for move in range(60)} for where in REAL}
    for g, t in enumerate(plies_of(games).tolist()):
        if t < 0:
            continue
        hook = f"blocks.{layer}.{'mlp.hook_post' if kind == 'neuron' else 'attn.hook_z'}"
        new = means[0][layer, unit, t] if kind == "neuron" else means[1][layer, t, unit]

        def ablate(x, _point, t=t, new=new):
            x[0, t, unit] = new

        base, changed = (
            model.run(games.inputs[g : g + 1], edit=edit)[0][0, t, 1:].double().numpy()
            for edit in ([], [(hook, ablate)])
        )
        adds = (base - base.mean()) - (changed - changed.mean())
        legal, held = (bits_to_bool(x[g, t]).numpy() for x in (boards.legal, boards.occupied))
        for move, square in enumerate(PLAYABLE):
            if legal[square]:
                seen["legal"][move].append(adds[move])
            elif not held[square]:
                seen["illegal"][move].append(adds[move])
    return seen


@pytest.mark.parametrize(("layer", "kind", "unit"), [(0, "neuron", 0), (1, "neuron", 64), (2, "neuron", 5),
                                                     (0, "head", 3), (2, "head", 1)])  # fmt: skip
def test_a_unit_against_whole_passes(model, games, means, found, layer, kind, unit):  # noqa: F811
    seen, several = slow(model, games, means, layer, kind, unit), 0
    for at, where in enumerate(REAL):
        mean, se = (x[layer, unit] for x in (found.mean(where, kind), found.se(where, kind)))
        for move, values in seen[where].items():
            assert int(found.positions[at, move]) == len(values)
            if not values:
                assert mean[move].isnan() and se[move].isnan()
                continue
            assert float(mean[move]) == pytest.approx(np.mean(values), abs=1e-5, rel=2e-4)
            if len(values) == 1:
                assert se[move].isnan()
                continue
            several += 1
            right = np.std(values, ddof=1) / len(values) ** 0.5
            assert float(se[move]) == pytest.approx(right, abs=1e-5, rel=2e-3)
    assert several >= 20 and max(abs(v) for values in seen["legal"].values() for v in values) > 1e-3


def test_the_moves_of_a_position_add_to_nothing(found):
    """Logits are relative to their mean: over all 60 moves an effect is 0, so legal ones and the others offset."""
    whole = MoveEffects(found.plies.clone(), found.neurons.clone(), found.heads.clone())
    one = torch.randn(3, 128, 60, dtype=torch.float64)
    one -= one.mean(-1, keepdim=True)
    legal = torch.zeros(60, dtype=torch.bool)
    legal[::3] = True
    before = whole.neurons[0, :2].sum((0, -1))
    whole.add(one, torch.zeros(3, 4, 60, dtype=torch.float64), legal, ~legal, legal, 20)
    assert ((whole.neurons[0, :2].sum((0, -1)) - before).abs() <= 60).all()


def test_sums_by_hand(model):  # noqa: F811
    tally, generator = MoveEffects.empty(model.shape), torch.Generator().manual_seed(1)
    s = model.shape
    values = torch.randn(40, s.n_layers, s.d_mlp, 60, generator=generator, dtype=torch.float64)
    heads = torch.randn(40, s.n_layers, s.n_heads, 60, generator=generator, dtype=torch.float64)
    legal, drawn = (torch.rand(40, 60, generator=generator) < 0.4 for _ in range(2))
    plies = torch.randint(5, 54, (40,), generator=generator)
    for row in range(40):
        tally.add(values[row], heads[row], legal[row], ~legal[row], drawn[row], int(plies[row]))
    for kind, own in (("neuron", values), ("head", heads)):
        for where, mask in (("legal", legal), ("illegal", ~legal), ("drawn", drawn), ("left", ~drawn)):
            for move in range(0, 60, 7):
                chosen = own[mask[:, move], ..., move]
                n = len(chosen)
                assert torch.allclose(tally.mean(where, kind)[..., move], chosen.mean(0), atol=1e-8)
                assert torch.allclose(tally.se(where, kind)[..., move], chosen.std(0) / n**0.5, atol=1e-6)


def test_the_drawn_are_as_many_empty_ones_by_the_games_number():
    empty = torch.zeros(60, dtype=torch.bool)
    empty[5:45] = True
    counts = torch.zeros(60)
    for game in range(2000):
        drawn = drawn_moves(game, empty, 8, seed=1)
        assert int(drawn.sum()) == 8 and not (drawn & ~empty).any()
        counts += drawn
    assert torch.equal(drawn, drawn_moves(1999, empty, 8, seed=1))
    assert not torch.equal(drawn, drawn_moves(1999, empty, 8, seed=2))
    # each of the 40 in a fifth of the games, within four standard errors
    assert (counts[5:45] / 2000 - 0.2).abs().max() < 4 * (0.16 / 2000) ** 0.5


def test_the_control_of_a_real_run_counts_all_empty_squares(model, games, found):  # noqa: F811
    legal, illegal, drawn = found.positions
    assert int(drawn.sum()) == int(legal.sum()) and (drawn <= legal + illegal).all()
    real, control = found.compare(pair=REAL), found.compare(pair=CONTROL)
    assert not np.allclose(real.gap, control.gap)


def test_few_pass_in_the_control_and_planted_ones_do(model):  # noqa: F811
    tally, s, generator = MoveEffects.empty(model.shape), model.shape, torch.Generator().manual_seed(2)
    for game in range(200):
        legal = torch.rand(60, generator=generator) < 0.25
        illegal = ~legal & (torch.rand(60, generator=generator) < 0.7)
        both = [torch.randn(s.n_layers, n, 60, generator=generator, dtype=torch.float64) for n in (s.d_mlp, s.n_heads)]
        both[0][1, :10, legal] += 2.0
        tally.add(*both, legal, illegal, drawn_moves(game, legal | illegal, int(legal.sum())), 5 + game % 48)
    real, control = (tally.compare("neuron", slice(1, 2), pair).p[0] for pair in (REAL, CONTROL))
    n = s.d_mlp * 60
    assert (real[:10] < 0.05 / n).mean() > 0.6 and (real[10:] < 0.05 / n).sum() == 0
    assert (control < 0.05 / n).sum() <= 1 and 0.03 < (control[10:] < 0.05).mean() < 0.07


@pytest.mark.parametrize("same_ply", [True, False])
def test_the_gap_is_least_squares_and_without_the_ply_welchs_test(model, same_ply):  # noqa: F811
    tally, s, generator = MoveEffects.empty(model.shape), model.shape, torch.Generator().manual_seed(3)
    legal = torch.rand(120, 60, generator=generator) < 0.3
    plies = torch.full((120,), 17) if same_ply else torch.randint(5, 54, (120,), generator=generator)
    values = torch.randn(120, s.n_layers, s.d_mlp, 60, generator=generator, dtype=torch.float64)
    values *= 1 + 2 * legal[:, None, None]  # variances differ
    heads = torch.zeros(s.n_layers, s.n_heads, 60, dtype=torch.float64)
    for row in range(120):
        tally.add(values[row], heads, legal[row], ~legal[row], legal[row], int(plies[row]))
    found = tally.compare()
    assert (tally.compare("head").p == 1).all()  # nothing is no evidence
    for layer, unit, move in ((0, 3, 7), (1, 99, 30), (2, 64, 59)):
        y, case = values[:, layer, unit, move].numpy(), legal[:, move].numpy()
        gap, se, p = (float(x[layer, unit, move]) for x in (found.gap, found.se, found.p))
        if same_ply:
            right = ttest_ind(y[case], y[~case], equal_var=False)
            assert (gap, p) == (pytest.approx(y[case].mean() - y[~case].mean()), pytest.approx(right.pvalue, rel=1e-5))
            continue
        columns = np.stack([np.ones(120), case, plies.numpy()], 1)
        solved = np.linalg.lstsq(columns, y, rcond=None)[0]
        assert gap == pytest.approx(solved[1], abs=1e-7)
        # The sandwich: (X'X)^-1 X' diag(variance of the case) X (X'X)^-1, variances about the line by case
        rest = y - columns @ solved
        spread = np.where(case, rest[case].var() * case.sum() / (case.sum() - 1),
                          rest[~case].var() * (~case).sum() / ((~case).sum() - 1))  # fmt: skip
        inverse = np.linalg.inv(columns.T @ columns)
        right = inverse @ (columns.T * spread) @ columns @ inverse
        assert se == pytest.approx(right[1, 1] ** 0.5, rel=1e-6)
        assert 0 < p < 1 and (p < 0.05) == (abs(gap) > 2.0 * se or abs(gap) / se > 2.02)


def test_what_changes_with_the_ply_alone_makes_nothing_legal(model):  # noqa: F811
    """Legal late, illegal early, and an effect that grows along the game: a gap of means, and none at the same ply."""
    tally, s, generator = MoveEffects.empty(model.shape), model.shape, torch.Generator().manual_seed(4)
    heads = torch.zeros(s.n_layers, s.n_heads, 60, dtype=torch.float64)
    for row in range(120):
        ply = 5 + row % 48
        legal = torch.rand(60, generator=generator) < (0.15 + 0.6 * ply / 58)
        neurons = 0.1 * torch.randn(s.n_layers, s.d_mlp, 60, generator=generator, dtype=torch.float64)
        tally.add(neurons + 0.02 * ply, heads, legal, ~legal, legal, ply)
    found = tally.compare()
    raw = (tally.mean("legal") - tally.mean("illegal")).numpy()
    assert raw.mean() > 0.1 and abs(found.gap.mean()) < 0.01
    n = found.p.size
    assert (found.p < 0.05 / n).sum() <= 1 and 0.03 < (found.p < 0.05).mean() < 0.07


def test_refused(model, found):  # noqa: F811
    s, none = model.shape, torch.zeros(60, dtype=torch.bool)
    heads = torch.zeros(s.n_layers, s.n_heads, 60, dtype=torch.float64)
    for wrong in (torch.inf, torch.nan, 1024.0):
        tally, neurons = MoveEffects.empty(s), torch.zeros(s.n_layers, s.d_mlp, 60, dtype=torch.float64)
        neurons[1, 2, 3] = wrong
        with pytest.raises(InputError, match="moves a logit by 1024 or more"):
            tally.add(neurons, heads, ~none, none, none, 20)
        assert not tally.positions.any() and not tally.neurons.any()
    with pytest.raises(InputError, match="ask legal, illegal, drawn or left"):
        found.mean("anywhere")
    with pytest.raises(InputError, match="of a neuron or head"):
        found.se("legal", "layer")
    full = MoveEffects.empty(s)
    full.neurons += 2**62
    with pytest.raises(InputError, match="too large for this many positions"):
        full.merge(MoveEffects.of_tensors(full.tensors()))
    assert (full.neurons == 2**62).all() and not full.heads.any()
    tensors = found.tensors()
    for spoiled in ({"neurons": found.neurons.float()}, {"heads": found.heads[0]}, {"plies": found.plies[0]}):
        with pytest.raises(InputError, match="no sums of what units add"):
            MoveEffects.of_tensors(tensors | spoiled)
    with pytest.raises(InputError, match="no sums of what units add"):
        MoveEffects.of_tensors({})
    with pytest.raises(InputError, match="other numbers of units"):
        MoveEffects.of_tensors(tensors).merge(MoveEffects.of_tensors(tensors | {"neurons": found.neurons[:, :, :, :3]}))
