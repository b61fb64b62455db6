"""What neurons answer to, what they write, and their partners: planted truth, identities, and slow versions."""

import numpy as np
import oracles_rules
import pytest
import torch
from sklearn.metrics import r2_score

from circuits import plain
from circuits.attribution import attribute, logit_targets
from circuits.board_readers import BoardReader
from circuits.census import partners, roles, writers
from circuits.errors import InputError
from circuits.games import generate
from circuits.induction.sample import LayerActs, layers, sample
from circuits.notation import PLAYABLE
from circuits.rules import Literal, ToMove, sq
from circuits.rules.symmetry import symmetric
from circuits.rules.text import parse_rule


@pytest.fixture(scope="module")
def ground(tiny):
    return sample(tiny, generate(260, seed=21))


@pytest.fixture(scope="module")
def acts(ground):
    """The activations of layer 0."""
    return next(layers(ground, [0]))


def planted(ground, rows):
    """Activations at the sample's positions; each row a function of a side, with noise of sd 0.1."""
    generator = torch.Generator().manual_seed(0)
    sides = [torch.stack([row(side).float() for row in rows]) for side in ground.sides]
    return LayerActs(0, *(y + 0.1 * torch.randn(y.shape, generator=generator) for y in sides))


def last_move(side):
    return torch.tensor([PLAYABLE[t - 1] for t in side.games.tokens[side.packed.row, side.packed.ply].tolist()])


# ---- roles -----------------------------------------------------------------------------------------------------


def test_planted_roles_are_found(ground):
    rows = (
        lambda side: (side.ply > 30) + 100,
        lambda side: side.packed.holds(ToMove(True)),
        lambda side: side.packed.holds(sq.C2.played),
        lambda side: side.packed.holds(sq.D3.flipped),
        lambda side: torch.zeros(side.n),
        lambda side: last_move(side) % 8 == 3,
    )
    found = roles.roles(roles.Columns.of(ground), planted(ground, rows))
    # Who moves goes by the parity of the ply, but for passes.
    assert (found.by_ply > 0.9).tolist() == [True, True, False, False, False, False]
    assert 31 <= int(found.peak[0]) <= 53
    assert (found.by_mover > 0.9).tolist() == [False, True, False, False, False, False]
    assert (found.by_move > 0.9).tolist() == [False, False, False, False, False, True]
    assert roles.name("played", int(found.played.square[2])) == "C2 played"
    assert roles.name("flipped", int(found.flipped.square[3])) == "D3 flipped"
    assert float(found.flipped.r2[3]) > 0.85 and float(found.flipped.skill[3]) > 0.95
    assert (found.flipped.r2 >= roles.ROLE).tolist() == [False, False, False, True, False, False]


def test_group_means_explain_what_the_plain_way_says(ground, acts):
    found = roles.roles(roles.Columns.of(ground), acts)
    train, out = ground.train, ground.held_out
    groups = {
        "by_ply": [side.ply for side in (train, out)],
        "by_mover": [side.packed.holds(ToMove(True)).long() for side in (train, out)],
        "by_move": [last_move(side) for side in (train, out)],
    }
    for name, (learnt, tested) in groups.items():
        for i in (0, 7, 100):
            y = acts.train[i].double().numpy()
            mean = {g: y[learnt.numpy() == g].mean() for g in set(learnt.tolist())}
            predicted = [mean.get(g, y.mean()) for g in tested.tolist()]
            assert float(getattr(found, name)[i]) == pytest.approx(
                r2_score(acts.held_out[i].double().numpy(), predicted), abs=1e-5
            )


@pytest.mark.parametrize("kind", ["played", "flipped"])
def test_the_best_literal_is_the_one_of_highest_correlation(ground, acts, kind):
    found = getattr(roles.roles(roles.Columns.of(ground), acts), kind)
    atoms = [Literal(square, kind) for square in (PLAYABLE if kind == "played" else range(64))]
    train, tune, out = (torch.stack([side.packed.holds(atom) for atom in atoms]).numpy() for side in ground.sides)
    often = [50 <= column.sum() <= len(column) - 50 for column in train]
    strong = int(found.r2.argmax())
    for i in (3, 64, strong):
        y = acts.train[i].double().numpy()
        r = [np.corrcoef(y, column)[0, 1] if ok else -2 for column, ok in zip(train, often, strict=True)]
        best = int(np.argmax(r))
        assert int(found.square[i]) == atoms[best].square
        truth = oracles_rules.two_levels(y, train[best], acts.held_out[i].double().numpy(), out[best])
        assert float(found.r2[i]) == pytest.approx(truth, abs=1e-5)
        if found.r2[i] >= roles.ROLE:
            threshold, _ = oracles_rules.best_threshold_f1(acts.tune[i].numpy(), tune[best])
            on = acts.held_out[i].numpy() > threshold
            f1, rate = 2 * (on & out[best]).sum() / (on.sum() + out[best].sum()), out[best].mean()
            chance = 2 * rate / (1 + rate)
            assert float(found.skill[i]) == pytest.approx((f1 - chance) / (1 - chance), abs=1e-5)
        else:
            assert torch.isnan(found.skill[i])


def test_a_dead_neuron_has_no_role(ground):
    sides = [torch.full((1, side.n), 3.7) for side in ground.sides]
    found = roles.roles(roles.Columns.of(ground), LayerActs(0, *sides))
    for r2 in (found.by_ply, found.by_mover, found.by_move, found.played.r2, found.flipped.r2):
        assert float(r2) == 0.0


# ---- writers ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reader():
    generator = torch.Generator().manual_seed(1)
    weight, bias = torch.randn(64, 64, 3, generator=generator), torch.randn(64, 3, generator=generator)
    return BoardReader("blocks.1.hook_resid_post", weight, bias)


def test_what_is_written_is_what_the_probe_reads_of_it(tiny, reader):
    model = plain.of(tiny)
    change = torch.linspace(-2, 2, 128)
    found = writers.board_writes(model, 1, reader, change)
    x = torch.randn(64, generator=torch.Generator().manual_seed(2))
    before, after = reader(x), reader(x + change[90] * model.W_out(1)[90])
    empty, theirs, mine = (after - before).unbind(-1)
    truth = {}
    for square in range(64):
        truth[parse_name(square, "mine")] = float((mine - theirs)[square])
        truth[parse_name(square, "empty")] = float((empty - (mine + theirs) / 2)[square])
    assert len(found.names) == 124
    for (name, _), moved in zip(found.names, found.moved[90].tolist(), strict=True):
        assert moved == pytest.approx(truth[name], abs=1e-4)


def parse_name(square, state):
    return f"{'ABCDEFGH'[square // 8]}{square % 8} {state}"


def test_moves_are_written_as_attribution_says(tiny, games):
    model = plain.of(tiny)
    tokens = games.inputs[:1, :20]
    _, acts = model.run(tokens, save=["ln_final.hook_scale", "blocks.2.mlp.hook_post"])
    scale, post = float(acts["ln_final.hook_scale"][0, 10]), acts["blocks.2.mlp.hook_post"][0, 10]
    truth = attribute(model, tokens, logit_targets(model)).neurons[2, :, 0, 10]
    torch.testing.assert_close(writers.move_writes(model, 2, post, scale).moved, truth, atol=1e-4, rtol=1e-3)


def test_only_planted_writers_are_called_so(tiny, reader):
    """Random output weights reach far by chance about once in a thousand neurons, planted ones always."""
    generator = torch.Generator().manual_seed(3)
    W = torch.randn(3000, 64, generator=generator)
    vectors, names = writers.board_targets(reader)
    W[:5] = 4 * vectors[[0, 10, 20, 70, 100]] / vectors[[0, 10, 20, 70, 100]].norm(dim=1, keepdim=True)
    change = torch.ones(3000)
    change[4] = -1.0
    found = writers._writes(W, vectors, names, change, 0)
    assert all(by > 0 for row in found.written for _, by in row)
    assert [row[0][0] for row in found.written[:5]] == [*(names[i][0] for i in (0, 10, 20, 70)), names[100][1]]
    assert 0 <= int((found.counts[5:] > 0).sum()) <= 12
    # What hardly moves the reading is not written, however it points.
    assert not writers._writes(W, vectors, names, 1e-3 * change, 0).counts.any()


def test_the_largest_are_listed_first_and_no_more_than_five():
    names = tuple((f"+{i}", f"-{i}") for i in range(8))
    moved = torch.tensor([[0.3, -4.0, 2.0, 0.1, 1.0, 0.9, -0.8, 5.0]])
    z = torch.full_like(moved, 9.0)
    z[0, 7] = 1.0
    found = writers.Writes(names, moved, z, 4.0)
    assert [name for name, _ in found.written[0]] == ["-1", "+2", "+4", "+5", "-6"]
    assert found.counts.tolist() == [6]


def test_change_is_between_levels_or_of_the_highest(acts):
    found = writers.change(acts.train[:3], [2.0, None, -1.0], [0.5, None, 1.0])
    values = np.sort(acts.train[1].double().numpy())[::-1]
    k = round(0.05 * len(values))
    assert found.tolist() == pytest.approx([1.5, values[:k].mean() - values[k:].mean(), -2.0], abs=1e-5)


def test_a_probe_of_another_point_is_refused(tiny, reader):
    with pytest.raises(InputError, match=r"blocks\.0\.hook_resid_post; the probe is of blocks\.1"):
        writers.board_writes(plain.of(tiny), 0, reader, torch.ones(128))


# ---- partners --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shown(ground):
    return partners.images(ground, 12)


def test_a_rule_holds_where_its_image_does_on_the_images(ground, shown):
    rule = parse_rule("C0 empty & D1 theirs & E2 mine | (A4 played & ply >= 9)")
    held = ground.held_out.packed.holds(rule)[: shown.held_out.n]
    assert held.any()
    for name, side in zip(partners.MAPS, shown.sides, strict=True):
        assert torch.equal(side.packed.holds(symmetric(rule)[name]), held)
        again = partners.map_tokens(side.games.tokens, name)
        assert torch.equal(again, ground.held_out.games.tokens[:12])


def test_activations_on_images_are_the_models(ground, shown):
    hook = "blocks.1.mlp.hook_post"
    got = next(layers(shown, [1]))
    for side, acts in zip(shown.sides, (got.train, got.tune, got.held_out), strict=True):
        _, run = ground.model.run(side.games.inputs, save=[hook])
        torch.testing.assert_close(acts, run[hook][side.packed.where].T, atol=1e-4, rtol=1e-4)


def test_planted_partners_are_found():
    generator = torch.Generator().manual_seed(4)
    ply = torch.randint(5, 54, (4000,), generator=generator)
    choose = torch.arange(4000) < 2000
    own = torch.randn(40, 4000, generator=generator)
    own[20:] += 3 * (ply - 30) / 10  # what follows the clock looks alike
    swap = torch.arange(40)
    swap[[0, 1, 2, 3, 25, 30]] = torch.tensor([1, 0, 3, 2, 30, 25])
    images = torch.randn(40, 4000, generator=generator)
    planted = [0, 1, 2, 3, 7, 25, 30]
    images[planted] = own[swap[planted]] + 0.1 * torch.randn(7, 4000, generator=generator)
    images[9] = own[8]  # one way only: 8 does not look like 9
    images[12] = (ply / 7.0) ** 2  # the ply says all of it
    found = partners.matches(*(partners.Halves.of(x, ply, choose) for x in (images, own)))
    assert found.found.nonzero()[:, 0].tolist() == planted
    assert found.partner[planted].tolist() == swap[planted].tolist()
    assert (found.r[planted] > 0.98).all() and (found.second[planted].abs() < 0.2).all()
    assert int(found.partner[9]) == 8 and found.r[9] > 0.99 and not found.mutual[9]
    assert float(found.r[12]) == 0.0
    assert 0.04 < found.chance < 0.2


def test_r_is_the_correlation_of_what_the_ply_leaves(acts, ground):
    ply, n = ground.held_out.ply, ground.held_out.n
    choose = torch.arange(n) < n // 2
    halves = partners.Halves.of(acts.held_out, ply, choose)
    found = partners.matches(halves, halves, twins=True)

    def left(i, here):
        y, at = acts.held_out[i].double().numpy()[here], ply.numpy()[here]
        return y - (np.bincount(at, y) / np.maximum(np.bincount(at), 1))[at]

    here = choose.numpy()
    for i in (0, 50):
        r = [np.corrcoef(left(i, here), left(j, here))[0, 1] if j != i else -2 for j in range(128)]
        assert int(found.partner[i]) == int(np.argmax(r))
        measured = np.corrcoef(left(i, ~here), left(int(np.argmax(r)), ~here))[0, 1]
        assert float(found.r[i]) == pytest.approx(measured, abs=1e-4)


def test_twins_are_never_oneself():
    generator = torch.Generator().manual_seed(5)
    own = torch.randn(10, 600, generator=generator)
    own[4] = 2 * own[8] + 1
    halves = partners.Halves.of(own, torch.zeros(600, dtype=torch.int64), torch.arange(600) % 2 == 0)
    found = partners.matches(halves, halves, twins=True)
    assert found.found.nonzero()[:, 0].tolist() == [4, 8]
    assert (found.partner != torch.arange(10)).all()
