"""The last position run again by itself equals whole passes."""

import pytest
import torch

from circuits import plain
from circuits.errors import InputError
from circuits.games import generate
from circuits.last_ply import LastPly


@pytest.fixture(scope="module")
def model(tiny):
    return plain.of(tiny)


@pytest.fixture(scope="module")
def tokens():
    return generate(12, seed=4).inputs


PLY = torch.tensor([0, 1, 5, 9, 20, 33, 41, 50, 55, 58, 3, 17])
ROW = torch.arange(12)


def bump(rows, plies, amount):
    def edit(x, _):
        x[rows, plies] += amount
        return x

    return edit


@pytest.mark.parametrize("hook", ["hook_resid_pre", "attn.hook_q", "attn.hook_z", "hook_resid_mid", "mlp.hook_post"])
def test_equal_to_a_whole_pass_with_a_hook(model, tokens, hook):
    last = LastPly.of(model, tokens, PLY)
    name = f"blocks.1.{hook}"
    width = model.run(tokens[:1, :2], save=[name])[1][name].shape[2:]
    amount = torch.randn(12, *width, generator=torch.Generator().manual_seed(1))
    whole, saved = model.run(tokens, edit=[(name, bump(ROW, PLY, amount))], save=["blocks.2.hook_resid_post"])
    alone, own = last.run([(name, bump(ROW, 0, amount))], save=["blocks.2.hook_resid_post"])
    torch.testing.assert_close(alone[:, 0], whole[ROW, PLY], atol=1e-4, rtol=1e-4)
    post = "blocks.2.hook_resid_post"
    torch.testing.assert_close(own[post][:, 0], saved[post][ROW, PLY], atol=1e-4, rtol=1e-4)
    assert (alone[:, 0] - last.run()[0][:, 0]).abs().max() > 0.01


def test_what_comes_behind_the_last_ply_is_not_read(model, tokens):
    cut = tokens.masked_fill(torch.arange(59) > PLY[:, None], 0)
    assert torch.equal(LastPly.of(model, cut, PLY).run()[0], LastPly.of(model, tokens, PLY).run()[0])


def test_variants_do_not_see_each_other(model, tokens):
    last, name = LastPly.of(model, tokens, PLY), "blocks.0.hook_resid_post"
    amount = torch.randn(12, 5, 64, generator=torch.Generator().manual_seed(2))
    together = last.run([(name, lambda x, _: x + amount)], variants=5)[0]
    for i in range(5):
        alone = last.run([(name, lambda x, _, i=i: x + amount[:, i : i + 1])])[0]
        torch.testing.assert_close(together[:, i], alone[:, 0], atol=1e-5, rtol=1e-5)


def test_rows_and_later_starts(model, tokens):
    last, rows = LastPly.of(model, tokens, PLY), torch.tensor([3, 3, 0, 11])
    torch.testing.assert_close(last[rows].run()[0], last.run()[0][rows], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(last.run(start_at=2)[0], last.run()[0], atol=1e-5, rtol=1e-5)
    with pytest.raises(InputError, match="never reached when running from block 2"):
        last.run(save=["blocks.1.hook_resid_post"], start_at=2)


def test_a_last_ply_that_is_not_there(model, tokens):
    with pytest.raises(InputError, match=r"last plies 3\.\.40: .*0\.\.19"):
        LastPly.of(model, tokens[:2, :20], torch.tensor([3, 40]))
