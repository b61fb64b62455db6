"""Readings of the probe as causal targets."""

import pytest
import torch

from circuits.errors import InputError
from circuits.notation import square
from probes.readings import reading


def test_a_reading_is_the_probes_log_odds(bench):
    hook = "blocks.1.hook_resid_post"
    metric = reading(bench.probes, "c4 mine", hook)
    assert metric.name == "C4 mine reading" and metric.point == hook
    tokens = bench.games[:3].inputs
    _, acts = bench.model.run(tokens, save=[hook])
    probe = bench.probes.board(hook)
    stream = acts[hook][:, 20]
    logits = torch.einsum("gd,dc->gc", stream, probe.weight[:, square("C4")]) + probe.bias[square("C4")]
    p = logits.softmax(-1)[:, probe.classes.index("mine")]
    torch.testing.assert_close(metric(stream, torch.arange(3)), (p / (1 - p)).log(), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    "name, hook, message",
    [
        ("C4 red", "blocks.1.hook_resid_post", "empty, theirs, mine"),
        ("mine", "blocks.1.hook_resid_post", "is no reading"),
        ("Z4 mine", "blocks.1.hook_resid_post", "is no square"),
        ("C4 mine", "blocks.9.hook_resid_post", "no board probe"),
    ],
)
def test_refusals(bench, name, hook, message):
    with pytest.raises(InputError, match=message):
        reading(bench.probes, name, hook)
