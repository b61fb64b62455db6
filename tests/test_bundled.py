"""Smoke tests of whatever model is bundled: it loads by default, says where it comes from, and plays."""

import re
import warnings
from pathlib import Path

import pytest

from circuits import models
from circuits.activations import points, stream
from circuits.attribution import check_sum
from circuits.behaviour import play_quality
from circuits.games import generate

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.bundled


@pytest.fixture(scope="module")
def bundled():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return models.load()


def test_it_is_the_default_and_knows_itself(bundled):
    assert bundled.is_bundled and bundled.name and bundled.device.type == "cpu"
    assert check_sum(bundled) < 1e-4


def test_its_card_says_how_it_was_made(bundled):
    assert bundled.card["name"] == bundled.name
    assert {"games", "objective"} <= set(bundled.card) and {"machine", "hardware"} & set(bundled.card)


def test_it_plays_legally(bundled):
    quality = play_quality(bundled, generate(30, seed=123))
    assert quality.illegal_top1 < 0.05 * quality.chance_illegal_top1
    assert quality.kl_to_uniform_legal < 0.2 * quality.chance_kl


def test_every_point_of_its_stream_can_be_read(bundled):
    (batch,) = stream(bundled, generate(2), points(bundled.shape))
    assert {a.shape[-1] for a in batch.acts.values()} == {bundled.shape.d_model}
    assert len(batch.acts) == 2 * bundled.shape.n_layers + 1


@pytest.mark.parametrize("file", ["README.md", "reports/cli/__init__.py", "reports/workbench.py"])
def test_units_in_the_documentation_are_units_of_it(bundled, file):
    named = re.findall(r"\bL\d+[NH]\d+\b", (ROOT / file).read_text(encoding="utf-8"))
    assert named and all(bundled.unit(name) for name in named)


def test_the_default_edit_is_followed(bundled):
    """The error falls to a third, random directions leave it; and it moves little where nothing is to change."""
    from dataclasses import replace

    import probes
    from circuits.editing.board_edits import join
    from circuits.editing.cases import natural, unnatural
    from circuits.editing.interventions import default
    from circuits.editing.scores import score
    from probes.editing import open_editor

    editor = open_editor(bundled, probes.load(bundled))
    cases = join([natural(60, seed=41, least_changed=1), unnatural(60, seed=41, least_changed=1)])
    edited = editor.run(cases, default(bundled))
    control = editor.run(cases, default(bundled), control=True)
    none, after, random = (float(score(x, cases)["error"].mean()) for x in (edited.before, edited.after, control.after))
    assert after < none / 3 and random > 0.9 * none
    same = editor.run(replace(cases, after=cases.before), default(bundled))
    moved = (same.after.softmax(-1) - same.before.softmax(-1)).abs().sum(-1) / 2
    # What `benchmarks/EDITING.md` states, with room for other cases.
    assert float(moved.mean()) < 0.03 and float(moved.max()) < 0.4
