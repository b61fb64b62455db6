"""Means of the stream by a square's state, against loops; the contrast of states along planted directions."""

import pytest
import torch

from circuits import plain
from circuits.editing.stream_means import StreamMeans, edit_points, stream_means
from circuits.errors import InputError
from circuits.games import generate


@pytest.fixture(scope="module")
def model(tiny):
    return plain.of(tiny)


@pytest.fixture(scope="module")
def means(model):
    return stream_means(model, generate(20, seed=8))


def test_equal_to_loops(model, means):
    games = generate(20, seed=8)
    boards, hooks = games.boards(), ["blocks.1.hook_resid_post", "blocks.0.attn.hook_z"]
    _, acts = model.run(games.inputs, save=hooks)
    for hook in hooks:
        x = acts[hook].flatten(2).double()
        mean = torch.zeros(59, x.shape[-1], dtype=torch.float64)
        for t in range(59):
            rows = boards.valid[:, t]
            if rows.any():
                mean[t] = x[rows, t].mean(0)
        torch.testing.assert_close(means.ply_mean[hook].double(), mean, atol=1e-4, rtol=1e-4)
        for square, state in ((0, 0), (20, 1), (27, 2), (45, 2)):
            held = []
            for g in range(20):
                for t in range(59):
                    mine = int(boards.mine[g, t]) >> square & 1
                    theirs = int(boards.theirs[g, t]) >> square & 1
                    if boards.valid[g, t] and 2 * mine + theirs == state:
                        held.append(x[g, t] - mean[t])
            assert len(held) == int(means.count[square, state])
            torch.testing.assert_close(
                means.state[hook][square, state].double(), torch.stack(held).mean(0), atol=1e-4, rtol=1e-4
            )
        if hook.endswith("hook_z"):
            off = (x - mean)[boards.valid].unflatten(1, (4, 16))
            covariance = torch.einsum("phd,phe->hde", off, off) / len(off)
            torch.testing.assert_close(means.spread[hook].double(), covariance, atol=1e-4, rtol=1e-4)


def test_states_average_out(model, means):
    hook = "blocks.2.hook_resid_mid"
    weighted = (means.state[hook].double() * means.count[..., None]).sum(1)
    torch.testing.assert_close(weighted / means.count.sum(1)[:, None], torch.zeros_like(weighted), atol=1e-4, rtol=0)
    assert set(means.state) == set(edit_points(model)) and not means.state[hook][27, 0].any()


def test_files(model, means, tmp_path):
    means.save(tmp_path / "means.safetensors")
    again = StreamMeans.load(tmp_path / "means.safetensors", model)
    assert again.games == 20 and again.source == means.source
    for hook in means.state:
        assert torch.equal(again.state[hook], means.state[hook])
    assert torch.equal(again.spread["blocks.0.attn.hook_z"], means.spread["blocks.0.attn.hook_z"])
    other = plain.load(None, random_seed=1)
    with pytest.raises(InputError, match="no stream means of model"):
        StreamMeans.load(tmp_path / "means.safetensors", other)
    (tmp_path / "bad.safetensors").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="no readable file"):
        StreamMeans.load(tmp_path / "bad.safetensors", model)
