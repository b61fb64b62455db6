"""Neurons replaced by what rules say of them: identities, and one run against a slow oracle."""

import pytest
import torch

from circuits import plain
from circuits.census.replaced import KINDS, WHOLE, Predictions, replaced
from circuits.errors import InputError

BAND = slice(5, 20)


@pytest.fixture(scope="module")
def ground(tiny, games):
    """The model, some games, and predictions that are the activations themselves."""
    model, games = plain.of(tiny), games[:6]
    hooks = [f"blocks.{layer}.mlp.hook_post" for layer in range(3)]
    _, acts = model.run(games.inputs, save=hooks)
    where = torch.zeros_like(games.boards().valid)
    where[:, BAND] = games.boards().valid[:, BAND]
    ply = where.nonzero()[:, 1]
    generator = torch.Generator().manual_seed(0)
    found = []
    for layer, hook in enumerate(hooks):
        own = acts[hook][where].T.contiguous()
        found.append(
            Predictions(
                layer,
                {"rules": own, "trees": torch.zeros_like(own)},
                {name: torch.rand(128, generator=generator) < 0.4 for name in ("rules", "trees")},
                own.mean(1),
                torch.stack([own[:, ply == t].mean(1) for t in range(5, 20)], 1),
            )
        )
    return model, games, found, where


@pytest.fixture(scope="module")
def table(ground):
    model, games, predictions, _ = ground
    return replaced(model, games, predictions, BAND)


def test_predictions_that_are_the_activations_change_nothing(table):
    for layer in (0, 1, 2, None):
        for kind in ("replaced, rest kept", "random, rest kept"):
            run = table.of(layer, "rules", kind)
            assert run.kl.value == pytest.approx(0, abs=1e-6)
            assert run.top_n.value == pytest.approx(table.clean_top_n.value, abs=1e-6)
        assert table.of(layer, "trees", "replaced, rest kept").kl.value > 1e-4


def test_every_line_is_there_once(table):
    keys = [(run.layer, run.by, run.kind) for run in table.runs]
    assert len(set(keys)) == len(keys) == 4 * (len(WHOLE) + 2 * len(KINDS))
    assert table.positions == 6 * 15 and table.games == 6


def test_setting_what_is_explained_to_means_and_the_rest_too_is_the_whole_layer(ground):
    """Where predictions are the means, every kind with the rest at its means is one and the same run."""
    model, games, predictions, where = ground
    at_means = [
        Predictions(p.layer, {"trees": p.mean[:, None].expand(-1, int(where.sum()))}, p.explained, p.mean, p.by_ply)
        for p in predictions
    ]
    table = replaced(model, games, at_means, BAND)
    for layer in (0, 1, 2, None):
        whole = table.of(layer, "means", WHOLE[0])
        for kind in ("replaced, rest mean", "random, rest mean"):
            assert table.of(layer, "trees", kind).kl.value == pytest.approx(whole.kl.value, rel=1e-5)
        kept = [table.of(layer, "trees", kind).kl.value for kind in KINDS[:3:2]]
        assert kept[0] == pytest.approx(kept[1], rel=1e-5)


def test_against_whole_runs_with_hooks(ground, table):
    """KL and top-N of one line, game by game and position by position."""
    model, games, predictions, where = ground
    chosen = predictions[1].explained["trees"]
    kl, right = [], []
    for row in range(len(games)):
        tokens = games.inputs[row : row + 1]

        def change(acts, point, row=row):
            for ply in range(acts.shape[1]):
                if where[row, ply]:
                    acts[0, ply, chosen] = 0.0
                    acts[0, ply, ~chosen] = predictions[1].mean[~chosen]
            return acts

        before = model.run(tokens)[0][0].log_softmax(-1)
        after = model.run(tokens, edit=[("blocks.1.mlp.hook_post", change)])[0][0].log_softmax(-1)
        moves = games[row : row + 1].boards()
        for ply in where[row].nonzero()[:, 0].tolist():
            p, q = before[ply], after[ply]
            kl.append(float((p.exp() * (p - q)).sum()))
            legal = [s for s in range(64) if int(moves.legal[0, ply]) >> s & 1]
            playable = [s for s in range(64) if s not in (27, 28, 35, 36)]
            best = q[1:].topk(len(legal)).indices.tolist()
            right.append(sum(playable[i] in legal for i in best) / len(legal))
    run = table.of(1, "trees", "replaced, rest mean")
    assert run.kl.value == pytest.approx(sum(kl) / len(kl), rel=1e-4)
    assert run.top_n.value == pytest.approx(sum(right) / len(right), abs=1e-6)
    assert run.neurons == int(chosen.sum()) and run.of == 128


def test_predictions_of_other_positions_are_refused(ground):
    model, games, predictions, _ = ground
    with pytest.raises(InputError, match=r"predictions of L0 by rules are \[128, 90\].*\[128, 75\]"):
        replaced(model, games[:5], predictions, BAND)
    with pytest.raises(InputError, match="one of each layer"):
        replaced(model, games, [predictions[0], predictions[0]], BAND)
