"""Settings of a run: sizes by name, schedules, the command that makes it again."""

import re
import shlex
from dataclasses import fields, replace

import pytest
from command_line import refused
from hypothesis import given
from hypothesis import strategies as st

from circuits.errors import InputError
from circuits.training import loop as training
from circuits.training.card import command_of
from circuits.training.config import SIZES, TrainConfig, frozen_layers, shape_of


def test_sizes_by_name_and_by_dimension():
    paper = shape_of("paper")
    assert (paper.n_layers, paper.d_model, paper.n_heads, paper.d_mlp) == (8, 512, 8, 2048)
    wide = shape_of("paper", mlp=4096, act="relu")
    assert wide == replace(paper, d_mlp=4096, act="relu")
    own = shape_of(width=96, heads=3)
    assert (own.d_head, own.d_mlp, own.n_layers) == (32, 384, SIZES["mini"].n_layers)
    for bad in ({"size": "big"}, {"width": 100, "heads": 3}, {"layers": 0}, {"act": "tanh"}, {"mlp": -1}):
        with pytest.raises(InputError):
            shape_of(**bad)


@given(st.integers(1, 5000), st.integers(1, 64), st.integers(0, 50), st.floats(0, 1), st.floats(0, 1))
def test_rates_rise_stay_and_fall(games, batch, warmup, decay, final):
    config = TrainConfig(games=games, batch=batch, warmup=warmup, decay=decay, final=final)
    factors = [config.rate_factor(i) for i in range(config.steps)]
    assert all(0 <= f <= 1 for f in factors)
    top = factors.index(max(factors))
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)
    if decay and config.steps > warmup:
        assert factors[-1] <= final + (1 - final) / (decay * config.steps) + 1e-9


def test_a_schedule_worked_out_by_hand():
    config = TrainConfig(games=100, batch=10, warmup=2, decay=0.5, final=0.2)
    expected = [0.5, 1, 1, 1, 1, 1, 0.84, 0.68, 0.52, 0.36]
    assert [config.rate_factor(i) for i in range(10)] == pytest.approx(expected)


def test_checkpoints_double():
    config = TrainConfig(games=10_000, batch=128, first_checkpoint=1000)
    assert config.checkpoints() == [1000, 2000, 4000, 8000, 10_112]  # whole batches


def test_configurations_come_back():
    config = TrainConfig(shape_of("nano", act="relu"), freeze=("L0-L2", "embed"), lr=0.1, games_file="a.npy")
    assert TrainConfig.from_dict(config.to_dict()) == config
    for bad in ({}, {"shape": 3}, config.to_dict() | {"more": 1}, config.to_dict() | {"shape": {"n_layers": 1}}):
        with pytest.raises(InputError, match="no configuration"):
            TrainConfig.from_dict(bad)


def test_a_configuration_of_before_a_setting_has_its_default():
    older = TrainConfig(games=5).to_dict()
    del older["dropout_until"]
    assert TrainConfig.from_dict(older) == TrainConfig(games=5)


def test_frozen_layers():
    assert frozen_layers(("L3", "L0-L1", "embed", "L5-6")) == {0, 1, 3, 5, 6}


@pytest.mark.parametrize(
    "config",
    [
        TrainConfig(),
        TrainConfig(
            shape_of("paper", act="relu"),
            dropout=0.1,
            dropout_until=0.6,
            objective="sampled",
            optimiser="adamw",
            lr=5e-4,
        ),
        TrainConfig(shape_of(layers=3, width=48, heads=4, mlp=100), games=5000, freeze=("L0", "embed"), seed=3),
        TrainConfig(games_file="club.npy", objective="sampled", symmetries=True, patience=2, eval_every=100),
    ],
)
def test_the_command_makes_the_same_configuration(config, monkeypatch, run):
    """What the card says to type is read back by the command line into the same settings."""
    seen = []

    def note(given, *_, **__):
        seen.append(given)
        raise InputError("enough")

    monkeypatch.setattr(training, "train", note)
    words = shlex.split(command_of(config))
    assert words[0] == "othello-circuits"
    assert refused(run(*words[1:], "--out", "nowhere")) == "othello-circuits: enough"
    assert seen == [config]


def test_help_states_the_defaults(run):
    help_text = " ".join(run("train", "--help").stdout.split())
    plain = TrainConfig()
    for field in fields(TrainConfig):
        value = getattr(plain, field.name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            flag = f" --{field.name.replace('_', '-')} <"
            after = re.split(r" --[a-z-]+ <", help_text.split(flag, 1)[1])[0]
            assert f"default {value}" in after, field.name
