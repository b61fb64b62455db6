"""Figures of causal results show the numbers they are given."""

import pytest
import torch

from circuits import plain
from circuits.causes import metrics
from circuits.causes.counterfactuals import last_move_changed
from circuits.causes.effects import summarise
from circuits.causes.patching import sweep
from circuits.errors import InputError
from circuits.games import generate
from reports.patching import figures as patch_figures


@pytest.fixture(scope="module")
def found(tiny):
    pairs = last_move_changed(generate(200, seed=3), "C2 empty", 8)
    pairs = pairs[pairs.legal_differs]
    return sweep(plain.of(tiny), pairs, metrics.newly_legal(pairs))


def test_shares_by_ply(found):
    figure = patch_figures.by_ply(found, align="end", plies=5)
    assert len(figure.data) == 3
    share = found.share(align="end")
    assert figure.data[0].y == ("L0 pre", "L1 pre", "L2 pre")
    for trace, rows in zip(figure.data, (slice(0, 3), slice(3, 6), slice(6, 9)), strict=True):
        torch.testing.assert_close(torch.tensor(trace.z), share[rows, :5])
    whole = sweep_together(found)
    with pytest.raises(InputError, match="by_ply=True"):
        patch_figures.by_ply(whole)


def sweep_together(found):
    from dataclasses import replace

    return replace(found, by_ply=False)


def test_bars_are_the_largest_effects_with_their_intervals():
    effects = (
        torch.randn(6, 40, generator=torch.Generator().manual_seed(0)) + torch.tensor([0, 3, 0, -2, 0, 1.0])[:, None]
    )
    summary = summarise(effects)
    figure = patch_figures.bars("abcdef", summary, "t", "logit", most=3)
    assert figure.data[0].y == ("f", "d", "b")
    assert figure.data[0].x[-1] == pytest.approx(float(summary.mean[1]))
    assert figure.data[0].error_x.array[-1] == pytest.approx(float(summary.high[1] - summary.mean[1]), abs=1e-6)
    with pytest.raises(InputError, match="5 names for 6"):
        patch_figures.bars("abcde", summary, "t", "logit")


def test_faithfulness_curves():
    figure = patch_figures.faithfulness({"resample": ([1, 10], [0.2, 0.9]), "random": ([1, 10], [0.0, 0.1])}, "t")
    assert [t.name for t in figure.data] == ["resample", "random"]
    assert figure.data[0].y == (0.2, 0.9)
