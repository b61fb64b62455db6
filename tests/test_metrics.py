"""Metrics against their definitions, written out move by move."""

import math

import pytest
import torch

from circuits.causes import metrics
from circuits.causes.counterfactuals import counterfactuals
from circuits.directions import Directions, unit
from circuits.errors import InputError
from circuits.games import generate
from circuits.notation import PLAYABLE, SQUARE_TOKEN, square


@pytest.fixture(scope="module")
def pairs():
    found = counterfactuals(generate(300, seed=4), None, 12)
    return found[found.legal_differs]


@pytest.fixture(scope="module")
def logits():
    return 3 * torch.randn(40, 61, generator=torch.Generator().manual_seed(0))


def squares(bits: int) -> list[int]:
    return [s for s in PLAYABLE if bits >> s & 1]


def test_logits_of_moves(logits):
    pair = torch.zeros(40, dtype=torch.long)
    c4, d5 = (int(SQUARE_TOKEN[square(s)]) for s in ("C4", "D5"))
    for row in (0, 7, 39):
        x = logits[row].tolist()
        mean = sum(x[1:]) / 60
        lse = math.log(sum(math.exp(v) for v in x))
        assert metrics.logit("C4")(logits, pair)[row] == pytest.approx(x[c4] - mean, abs=1e-5)
        assert metrics.log_probability(square("C4"))(logits, pair)[row] == pytest.approx(x[c4] - lse, abs=1e-5)
        assert metrics.logit_difference("C4", "D5")(logits, pair)[row] == pytest.approx(x[c4] - x[d5], abs=1e-5)


def test_a_move_of_its_own_for_each_pair(logits):
    moves = ["C4", "A0", "H7"]
    pair = torch.tensor([2, 0, 1, 1])
    found = metrics.logit(moves)(logits[:4], pair)
    for row, p in enumerate(pair.tolist()):
        assert found[row] == metrics.logit(moves[p])(logits[[row]], torch.tensor([0]))[0]
    by_number = metrics.logit(torch.tensor([square(m) for m in moves]))
    assert torch.equal(by_number(logits[:4], pair), found)
    assert metrics.logit("C4").name == "C4 logit" and "own" in by_number.name


def test_the_legal_set(pairs, logits):
    pair = torch.arange(len(pairs))
    x = logits[: len(pairs)]
    newly = metrics.newly_legal(pairs)(x, pair)
    mass = metrics.illegal_mass(pairs)(x, pair)
    error = {of: metrics.top_n_error(pairs, of)(x, pair) for of in ("clean", "corrupt")}
    for i in range(len(pairs)):
        clean, corrupt = (squares(int(end.legal[i])) for end in (pairs.clean_end, pairs.corrupt_end))
        value = {s: float(x[i, SQUARE_TOKEN[s]]) for s in PLAYABLE}
        only = [[s for s in a if s not in b] for a, b in ((clean, corrupt), (corrupt, clean))]
        both = [s for s in clean if s in corrupt] or list(PLAYABLE)
        mean = [sum(value[s] for s in side or both) / len(side or both) for side in only]
        assert newly[i] == pytest.approx(mean[0] - mean[1], abs=1e-4)
        p = x[i].softmax(-1)
        assert mass[i] == pytest.approx(1 - sum(float(p[SQUARE_TOKEN[s]]) for s in clean), abs=1e-5)
        for of, legal in (("clean", clean), ("corrupt", corrupt)):
            best = sorted(PLAYABLE, key=lambda s: -value[s])[: len(legal)]
            assert error[of][i] == len(set(best) ^ set(legal))
    assert not metrics.top_n_error(pairs).differentiable


def test_readings_of_the_stream():
    stream = torch.randn(5, 16, generator=torch.Generator().manual_seed(2))
    weight, bias = torch.randn(16, 3), torch.randn(3)
    got = metrics.reading(weight, bias, 2, "C4 mine", "blocks.0.hook_resid_mid")(stream, torch.arange(5))
    p = (stream @ weight + bias).softmax(-1)
    torch.testing.assert_close(got, (p[:, 2] / (p[:, 0] + p[:, 1])).log(), atol=1e-4, rtol=1e-4)
    directions = Directions(unit(torch.randn(2, 16)), ("a", "b"), "blocks.0.hook_resid_mid", "t")
    metric = metrics.coordinate(directions, "b")
    torch.testing.assert_close(metric(stream, torch.arange(5)), stream @ directions.vectors[1])
    assert metric.point == directions.hook


def test_refusals(pairs):
    same = counterfactuals(generate(300, seed=4), None, 60)
    same = same[~same.legal_differs]
    for call, message in (
        (lambda: metrics.logit("D3"), "centre square"),
        (lambda: metrics.logit("Z9"), "is no square"),
        (lambda: metrics.top_n_error(pairs, "mine"), "'clean' or of the 'corrupt'"),
        (lambda: metrics.newly_legal(same), "same moves are legal"),
        (lambda: metrics.logit_difference("C4", "c4"), "two different moves"),
        (lambda: metrics.check_pairs(metrics.illegal_mass(pairs[:2]), pairs), "was made for 2 pairs"),
    ):
        with pytest.raises(InputError, match=message):
            call()
