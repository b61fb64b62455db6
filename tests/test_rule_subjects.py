"""Subjects of rules: names, values, edits, what they write; readings of games; places to change them at."""

from dataclasses import replace

import pytest
import torch

from circuits import plain
from circuits.board_readers import BoardReader
from circuits.errors import InputError
from circuits.games import MIDDLE_BAND, Games, generate
from circuits.lean_pass import entering
from circuits.mining import mine
from circuits.rules import FALSE, TRUE, ply, sq
from circuits.verdicts.places import draw
from circuits.verdicts.readings import Ground, check_band, enough_games, read, subject_values
from circuits.verdicts.subjects import direction, subject

NAMES = ("L1N5", "L2N100", "L1H2", "L0N3, L2N7, L0N1", "L1 post C0 mine", "L1 mid F5 empty", "L0 pre A1 theirs")
RULE = sq.C2.empty & sq.C3.theirs


@pytest.fixture(scope="module")
def model(tiny):
    return plain.of(tiny)


@pytest.fixture(scope="module")
def readers(model):
    hooks = ["blocks.0.hook_resid_pre"]
    hooks += [f"blocks.{i}.hook_resid_{x}" for i in range(3) for x in ("mid", "post")]
    g = torch.Generator().manual_seed(3)
    made = {}
    for hook in hooks:
        weight = torch.randn(64, 64, 3, generator=g)
        made[hook] = BoardReader(hook, weight - weight.mean(0), torch.randn(64, 3, generator=g))
    return made


def whole(model, name_or_subject, tokens, **options):
    return model.run(tokens, save=name_or_subject.hooks, **options)[1]


@pytest.mark.parametrize("name", NAMES)
def test_names_print_as_they_are_read(model, readers, name):
    found = subject(model, name, readers)
    assert found.name == name
    assert found.hooks == subject(model, found.name, readers).hooks
    assert found.width == found.values(whole(model, found, torch.ones(1, 3, dtype=torch.long))).shape[-1]


def test_values_are_slices_of_what_the_model_saved(model, readers, games):
    acts = model.run(
        games.inputs[:4],
        save=[f"blocks.{i}.mlp.hook_post" for i in range(3)] + ["blocks.1.attn.hook_z", "blocks.1.hook_resid_post"],
    )[1]
    assert torch.equal(subject(model, "L2N7").values(acts)[..., 0], acts["blocks.2.mlp.hook_post"][..., 7])
    assert torch.equal(subject(model, "L1H2").values(acts), acts["blocks.1.attn.hook_z"][:, :, 2])
    several = subject(model, ["L2N7", "L0N1"]).values(acts)
    assert torch.equal(several[..., 1], acts["blocks.0.mlp.hook_post"][..., 1])
    weight = readers["blocks.1.hook_resid_post"].weight[:, 16]
    u = weight[:, 2] - weight[:, 1]
    u = (u - u.mean()) / (u - u.mean()).norm()
    for name, sign in (("L1 post C0 mine", 1), ("L1 post C0 theirs", -1)):
        got = subject(model, name, readers).values(acts)[..., 0]
        torch.testing.assert_close(got, sign * acts["blocks.1.hook_resid_post"] @ u, atol=1e-4, rtol=1e-4)


def test_one_point_has_one_name(model, readers):
    assert subject(model, "l2 PRE c0 Mine", readers).name == "L1 post C0 mine"
    assert subject(model, ["L1N5"]).name == "L1N5"
    assert subject(model, ["L1N5"]).kind == "neuron"


@pytest.mark.parametrize(
    "name, said",
    [
        ("L9N3", "out of range"), ("L1N128", "out of range"), ("foo", "names no unit"), ([], "no unit is given"),
        ("L1N3, L1N3", "L1N3 is given twice"), ("L1H2, L1N3", "a set is of neurons"),
        ("L1 post C0", "names no direction"), ("L1 post C0 flipped", "names no direction"),
        ("L1 post D3 empty", "never empty"), ("L7 post C0 mine", "no layer 7"), ("L1 post C8 mine", "digit 8"),
    ],
)  # fmt: skip
def test_what_is_not_there(model, readers, name, said):
    with pytest.raises(InputError, match=said):
        subject(model, name, readers)


def test_directions_of_ones_own(model):
    v = torch.randn(64, generator=torch.Generator().manual_seed(0)) + 5
    own = direction(model, "L1 mid", v, "parity")
    assert (own.name, own.kind, own.writes) == ("L1 mid parity", "direction", "blocks.1.hook_resid_mid")
    assert abs(float(own.vector.norm()) - 1) < 1e-5 and abs(float(own.vector.mean())) < 1e-6
    for bad, said in ((torch.ones(3), "d_model 64"), (torch.ones(64), "zero")):
        with pytest.raises(InputError, match=said):
            direction(model, "L1 mid", bad, "x")
    with pytest.raises(InputError, match="no point of the stream"):
        direction(model, "L1 attn", v, "x")
    with pytest.raises(InputError, match="no probes are given"):
        subject(model, "L1 post C0 mine")


@pytest.mark.parametrize("name", NAMES)
def test_edits_set_the_values_and_nothing_else(model, readers, games, name):
    found, tokens = subject(model, name, readers), games.inputs[:3, :20]
    new = torch.randn(3, 20, found.width, generator=torch.Generator().manual_seed(1))
    after = whole(model, found, tokens, edit=found.edits(new))
    torch.testing.assert_close(found.values(after), new, atol=1e-4, rtol=1e-4)
    before = model.run(tokens)[0]
    own = found.values(whole(model, found, tokens))
    kept = model.run(tokens, edit=found.edits(own))[0]
    if found.first_layer == found.layer:  # a set's second layer answers its first
        torch.testing.assert_close(kept, before, atol=1e-4, rtol=1e-4)
    assert (model.run(tokens, edit=found.edits(new))[0] - before).abs().max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_what_the_stream_gets(model, readers, games, name):
    """Of one layer's part: the whole change at the first point that holds it."""
    found, tokens = subject(model, name.split(",")[0], readers), games.inputs[:3, :20]
    own = found.values(whole(model, found, tokens))
    change = torch.randn(own.shape, generator=torch.Generator().manual_seed(1))
    before = model.run(tokens, save=[found.writes])[1][found.writes]
    after = model.run(tokens, save=[found.writes], edit=found.edits(own + change))[1][found.writes]
    ((point, written),) = found.written(change).items()
    assert point == found.writes
    torch.testing.assert_close(after - before, written, atol=2e-4, rtol=1e-3)


def test_a_set_writes_layer_by_layer(model):
    found = subject(model, "L0N3, L2N7, L0N1")
    written = found.written(torch.tensor([2.0, 3.0, -1.0]))
    first, last = model.W_out(0), model.W_out(2)
    torch.testing.assert_close(written["blocks.0.hook_resid_post"], 2 * first[3] - first[1])
    torch.testing.assert_close(written["blocks.2.hook_resid_post"], 3 * last[7])


@pytest.mark.parametrize(
    "name, reads, writes",
    [
        ("L1N5", "blocks.1.hook_resid_mid", "blocks.1.hook_resid_post"),
        ("L1H2", "blocks.0.hook_resid_post", "blocks.1.hook_resid_mid"),
        ("L0H2", "blocks.0.hook_resid_pre", "blocks.0.hook_resid_mid"),
        ("L1 post C0 mine", "blocks.1.hook_resid_mid", "blocks.1.hook_resid_post"),
        ("L1 mid C0 mine", "blocks.0.hook_resid_post", "blocks.1.hook_resid_mid"),
        ("L0N3, L2N7", "blocks.2.hook_resid_mid", "blocks.2.hook_resid_post"),
    ],
)
def test_where_subjects_read_and_write(model, readers, name, reads, writes):
    found = subject(model, name, readers)
    assert (found.reads, found.writes) == (reads, writes)


# ---- scalars -------------------------------------------------------------------------------------------------


def test_a_heads_scalar_is_along_the_difference_of_means(model):
    g = torch.Generator().manual_seed(0)
    u = torch.randn(16, generator=g)
    u /= u.norm()
    holds = torch.rand(4000, generator=g) < 0.3
    values = 0.1 * torch.randn(4000, 16, generator=g) + 3 * holds[:, None] * u
    head = subject(model, "L1H2")
    with pytest.raises(InputError, match="learnt first"):
        head.scalar(values)
    fitted = head.fitted(values, holds)
    scalar = fitted.scalar(values)
    assert abs(float(scalar[holds].mean() - scalar[~holds].mean()) - 3) < 0.05
    assert float(fitted.weights @ u) > 0.999
    assert torch.equal(subject(model, "L1N5").fitted(values[:, :1], holds).scalar(values[:, :1]), values[:, 0])


def test_a_sets_scalar_standardises_and_signs(model):
    g = torch.Generator().manual_seed(0)
    holds = torch.rand(3000, generator=g) < 0.5
    noise = torch.randn(3000, 3, generator=g)
    values = noise * torch.tensor([1.0, 10.0, 0.0]) + torch.tensor([5.0, -3.0, 2.0])
    values[:, 0] += 4 * holds
    values[:, 1] -= 20 * holds  # lower where the rule holds
    fitted = subject(model, "L0N3, L2N7, L0N1").fitted(values, holds)
    z = (values - values.mean(0)) / values.std(0, correction=0).clamp_min(1e-9)
    torch.testing.assert_close(fitted.scalar(values), (z[:, 0] - z[:, 1]) / 3, atol=1e-4, rtol=1e-4)
    for never in (torch.zeros(3000, dtype=torch.bool), torch.ones(3000, dtype=torch.bool)):
        with pytest.raises(InputError, match="nothing can be learnt"):
            subject(model, "L0N3, L2N7").fitted(values[:, :2], never)
    with pytest.raises(InputError, match="is the same wherever"):
        subject(model, "L0N3, L2N7").fitted(torch.ones(3000, 2), holds)


# ---- readings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_readings_are_those_of_whole_passes(model, readers, games, name):
    found = subject(model, name, readers)
    got = read(model, found, games, batch=7)
    boards = games.boards()
    where = boards.valid.clone()
    where[:, :5] = where[:, 54:] = False
    expected = found.values(whole(model, found, games.inputs))[where]
    torch.testing.assert_close(got.values, expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(got.packed.where, where) and len(got) == int(where.sum()) and got.n_games == len(games)


def test_the_stream_entering_a_block(model, games):
    for layer in range(4):
        expected, _ = model.run(games.inputs[:5], stop_at=layer)
        torch.testing.assert_close(entering(model, games.inputs[:5], layer), expected, atol=1e-4, rtol=1e-4)


def test_neurons_of_a_solu_model(model, games):
    solu = plain.PlainModel(replace(model.shape, act="solu"), model.card, model.hash, model.name, model.weights)
    found = subject(solu, "L2N7, L0N1")
    expected = found.values(whole(solu, found, games.inputs[:3]))
    torch.testing.assert_close(subject_values(solu, found, games.inputs[:3]), expected, atol=1e-5, rtol=1e-5)


def test_neurons_that_a_mining_pass_sampled_are_not_run(model, games, monkeypatch):
    mining = mine(model, games, sample_games=25)
    found = subject(model, "L2N7, L0N1")
    run = read(model, found, games)
    asked = []
    monkeypatch.setattr(
        "circuits.verdicts.readings.subject_values", lambda m, s, t: asked.append(len(t)) or subject_values(m, s, t)
    )
    sampled = read(model, found, games, sample=mining)
    torch.testing.assert_close(sampled.values, run.values, atol=2e-3, rtol=2e-3)
    assert sum(asked) == 15
    asked.clear()
    # A band beyond the pass's, another set of games, a head: all run.
    torch.testing.assert_close(
        read(model, found, games, slice(0, 59), sample=mining).values, read(model, found, games, slice(0, 59)).values
    )
    read(model, found, generate(40, seed=8), sample=mining)
    read(model, subject(model, "L1H2"), games, sample=mining)
    assert sum(asked) == 160


def test_copies_of_a_game_are_one_group(model, games):
    doubled = Games.of(torch.cat([games.tokens[:5], games.tokens[2:4]]))
    got = read(model, subject(model, "L1N5"), doubled)
    assert got.n_games == 5
    by_row = [set(got.group[got.packed.row == row].tolist()) for row in range(7)]
    assert by_row[5] == by_row[2] and by_row[6] == by_row[3] and len(set(map(frozenset, by_row))) == 5


def test_a_dead_neuron_is_found(model, games):
    weights = dict(model.weights)
    weights["blocks.1.mlp.W_in"] = weights["blocks.1.mlp.W_in"].clone()
    weights["blocks.1.mlp.b_in"] = weights["blocks.1.mlp.b_in"].clone()
    weights["blocks.1.mlp.W_in"][:, [5, 6]] = 0
    weights["blocks.1.mlp.b_in"][[5, 6]] = torch.tensor([-100.0, 1.0])
    dull = replace(model, weights=weights)
    said = [read(dull, s, games).constant(s) for s in (subject(dull, name) for name in ("L1N5", "L1N6", "L1N7"))]
    assert said[0].startswith("L1N5 is dead: it is 0 at all") and "L1N6 is constant: it is 0.84" in said[1]
    assert said[2] is None


def test_enough_games_are_as_few_as_can_be():
    games = generate(300, seed=1)
    boards = games.boards()
    holds = RULE.holds(boards)
    holds[:, :5] = holds[:, 54:] = False
    by_game = holds.sum(1).cumsum(0)
    for want, least in ((50, 1), (50, 200), (500, 10), (10**6, 10), (1, 500)):
        found = enough_games(RULE, games, MIDDLE_BAND, want, least)
        enough = (by_game >= want).nonzero()
        expected = min(300, max(least, int(enough[0]) + 1 if len(enough) else 300))
        assert len(found) == expected and torch.equal(found.ids, games.ids[:expected])


def test_a_ground_keeps_games_apart(tiny, games):
    with pytest.raises(InputError, match="both a training and a held-out"):
        Ground(tiny, games[:20], games[19:])
    with pytest.raises(InputError, match="no band"):
        Ground(tiny, games[:20], games[20:], band=slice(9, 9))
    assert Ground(tiny, games[:20], games[20:]).band == slice(5, 54)
    assert check_band(slice(None)) == slice(0, 59)


# ---- places ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ground(model):
    games = generate(160, seed=9)
    return Ground(model, games[:60], games[60:])


def drawn(ground, name, rule=RULE, readers=None, **sizes):
    found = subject(ground.model, name, readers)
    return draw(ground, found, rule, read(ground.model, found, ground.held_out), **sizes)


def test_places_hold_and_fail_at_the_same_plies_of_the_same_games(ground):
    places = drawn(ground, "L1N5", n_holds=80, n_fails=120)
    holds = RULE.holds(places.games.boards())[places.row, places.ply]
    assert torch.equal(holds, places.holds) and int(holds.sum()) == 80 and len(places) == 200
    assert places.matched >= 0.95 * 120
    plies = places.ply[places.holds].tolist()
    wanted = sorted(plies + plies[:40])
    assert sum(a == b for a, b in zip(wanted, sorted(places.ply[~places.holds].tolist()), strict=True)) > 100
    assert set(places.row[~holds].tolist()) <= set(places.row[holds].tolist())
    assert len(set(zip(places.row.tolist(), places.ply.tolist(), strict=True))) == 200
    # Every game that has one gives one before any gives another.
    count = torch.bincount(places.row[holds], minlength=100)
    has = RULE.holds(places.games.boards())[:, 5:54].any(1)
    assert int(count[has].min()) >= 1 if int(has.sum()) <= 80 else int(count.max()) == 1


def test_places_where_there_are_few(ground):
    late = ply >= 50
    places = drawn(ground, "L1N5", late, n_holds=40, n_fails=40)
    assert places.matched == 0 and int(places.holds.sum()) == 40
    assert int(places.ply[~places.holds].min()) >= 49  # the nearest
    always = drawn(ground, "L1N5", TRUE, n_holds=40)
    assert bool(always.holds.all()) and len(always) == 40
    assert len(drawn(ground, "L1N5", FALSE)) == 0
    rare = drawn(ground, "L1N5", sq.C2.played)
    assert int(rare.holds.sum()) == int((sq.C2.played.holds(ground.held_out.boards())[:, 5:54]).sum())


def test_places_are_the_seeds(ground):
    again = drawn(ground, "L1N5", n_holds=30)
    assert torch.equal(again.position, drawn(ground, "L1N5", n_holds=30).position)
    other = Ground(ground.model, ground.train, ground.held_out, seed=1)
    assert not torch.equal(again.position, drawn(other, "L1N5", n_holds=30).position)


@pytest.mark.parametrize("name", ("L0N5", "L1N5", "L2N5", "L2H1", "L0H1", "L1 post C0 mine", "L0N3, L2N7"))
def test_runs_at_places_are_whole_runs(ground, readers, name, monkeypatch):
    monkeypatch.setattr("circuits.verdicts.places.ROWS", 7)
    places, model = drawn(ground, name, readers=readers, n_holds=12, n_fails=10), ground.model
    found = subject(model, name, readers)
    seen = []
    for holds in (True, False):
        for rows, logits, acts in places.run(holds, lambda rows: [], save=found.hooks, variants=2):
            # The same row of a product may be rounded otherwise at another place of the batch on some processors.
            torch.testing.assert_close(logits[:, 0], logits[:, 1], atol=1e-4, rtol=1e-5)
            values = found.values({hook: x[:, 0] for hook, x in acts.items()})
            torch.testing.assert_close(values, places.values[rows], atol=1e-4, rtol=1e-4)
            for place, got in zip(rows.tolist(), logits[:, 0], strict=True):
                expected = model(places.tokens[place : place + 1, : int(places.ply[place]) + 1])[0, -1]
                torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
            seen += rows.tolist()
    assert sorted(seen) == list(range(22))
    assert places.address(3) == str(places.games.address(int(places.row[3]), int(places.ply[3])))
