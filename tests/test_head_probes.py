"""Single heads read, replaced and kept: equal to a whole pass with edits, to scikit-learn, and to what was saved."""

from pathlib import Path

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from circuits import plain
from circuits.activations import points
from circuits.behaviour import legal_tokens, score_positions
from circuits.errors import InputError
from circuits.features import board_state
from circuits.games import Games, generate
from circuits.head_means import head_means
from probes.board_counter import BoardCounter, squares
from probes.head_ablation import PLAY, _donors, _rotation, ablate_heads
from probes.head_study import HeadStudy, fingerprint, study_heads
from probes.heads import outputs, read_heads
from probes.linear import LinearProbe
from probes.scoring import Item, count
from probes.sets import ProbeSet

BAND = slice(10, 40)
TINY = Path(__file__).parent / "assets" / "tiny.safetensors"
FEW = {"mean": 5, "frozen pattern": 4, "zero": 3, "resample": 5, "random direction": 5}


@pytest.fixture(scope="module")
def model(tiny):
    return plain.of(tiny)


@pytest.fixture(scope="module")
def some():
    """(training games, held-out games), of which one ends at ply 24."""
    tokens = generate(6, seed=42).tokens.clone()
    tokens[4, 25:] = 0
    return generate(40, seed=41), Games.of(tokens)


@pytest.fixture(scope="module")
def probes(model):
    """Random probes at every point but one."""
    generator = torch.Generator().manual_seed(3)
    found = []
    for hook in points(model.shape):
        weight = torch.randn(model.shape.d_model, 64, 3, generator=generator)
        bias = torch.randn(64, 3, generator=generator)
        if hook != "blocks.1.hook_resid_mid":
            found.append(LinearProbe(weight, bias, "board", hook, model_hash=model.hash))
    return ProbeSet(tuple(found), {"made": "at random"})


@pytest.fixture(scope="module")
def study(model, probes, some):
    return study_heads(model, probes, *some, band=BAND, ablation_games=FEW)


def refused(function, *arguments, **options) -> str:
    with pytest.raises(InputError) as info:
        function(*arguments, **options)
    assert "\n" not in str(info.value)
    return str(info.value)


# ---- reading --------------------------------------------------------------------------------------------


def test_the_fast_reader_counts_as_the_probe_does(model, probes, some):
    hook = "blocks.2.hook_resid_post"
    _, acts = model.run(some[1].inputs, save=[hook])
    boards = some[1].boards()
    state = board_state(boards)
    found = BoardCounter.of(probes, hook).right(acts[hook], state, boards.valid)
    right = (probes.board(hook).predict(acts[hook]) == state) & boards.valid[..., None]
    wanted = torch.stack([(right & (state == c)).sum((1, 2)) for c in range(3)])
    assert torch.equal(found.long(), wanted)
    assert torch.equal(squares(state, boards.valid).sum(0).long(), 64 * boards.valid.sum(1))


def test_the_stream_around_a_layer_is_read_as_by_the_evaluation(model, probes, some, study):
    found = study.reading
    hooks = ["blocks.0.hook_resid_pre", "blocks.0.hook_resid_post", "blocks.2.hook_resid_mid"]
    slow = count(model, some[1], [Item(probes.board(h), h, "board") for h in hooks], band=BAND)
    assert [float(found.pre[0]), float(found.pre[1]), float(found.mid[2])] == pytest.approx([c.accuracy for c in slow])
    assert found.mid_recall[2].tolist() == pytest.approx(list(slow[2].recall))
    assert found.mid[1].isnan() and not found.random.isnan().any()
    assert found.positions == int(slow[0].positions[BAND].sum())


def test_a_head_is_read_as_well_as_by_scikit_learn(model, probes, some):
    held_out = generate(30, seed=44)
    found = read_heads(model, probes, some[0], held_out, band=BAND, passes=40, random_weights=False)
    seen, unseen = (outputs(model, games, BAND) for games in (some[0], held_out))
    for square in (18, 44):
        fitted = LogisticRegression(C=1e4, max_iter=300).fit(seen.z[0][:, 1], seen.board[:, square])
        accuracy = fitted.score(unseen.z[0][:, 1], unseen.board[:, square])
        assert float(found.by_square[0, 1, square]) == pytest.approx(accuracy, abs=0.03)
    torch.testing.assert_close(found.by_square.mean(-1), found.accuracy[..., 0], atol=1e-5, rtol=1e-5)
    assert (found.accuracy[..., 1] < found.accuracy[..., 0]).all()
    assert (found.accuracy[..., 0] < found.accuracy[..., 2]).all()
    assert found.random.isnan().all()
    # More can be read from a layer's heads together than from any one of them, up to what is learnt by heart.
    assert float(found.layer[0, 0]) > float(found.accuracy[0, :, 0].max()) - 0.02


def test_constant_guesses_are_those_of_the_baselines(some, study):
    from probes.baselines import constant

    wanted = constant(*some, band=BAND)
    assert study.reading.constant_square == pytest.approx(wanted.per_square)
    assert study.reading.constant_square_ply == pytest.approx(wanted.per_square_and_ply)


# ---- replacing ------------------------------------------------------------------------------------------


def edit_of(method, model, means, some, layer, head, seed=0):
    """The same replacement as an edit of a whole pass."""
    hook = f"blocks.{layer}.attn.hook_{'pattern' if method == 'frozen pattern' else 'z'}"
    if method == "resample":
        donors = _donors(some[1].boards().valid, some[0], BAND.stop, seed)
        _, other = model.run(some[0][donors].inputs, save=[hook])

    def change(x, _):
        if method == "frozen pattern":
            x[:, head] = means.pattern[layer, head]
        elif method == "mean":
            x[:, :, head] = means.z[layer, :, head]
        elif method == "zero":
            x[:, :, head] = 0
        else:
            x[:, :, head] = other[hook][: len(x), :, head]
        return x

    return hook, change


@pytest.mark.parametrize("method", ["mean", "frozen pattern", "zero", "resample"])
def test_replacing_a_head_equals_a_whole_pass_with_an_edit(tiny, model, probes, some, study, method):
    means, (layer, head), n = study.means, (1, 2), FEW[method]
    boards = some[1].boards()[:n]
    where = torch.zeros_like(boards.valid)
    where[:, BAND] = boards.valid[:, BAND]
    hooks = ["blocks.1.hook_resid_post", "blocks.2.hook_resid_post"]
    few = some[0], some[1][:n]
    donors_of = (some[0], some[1][: max(FEW.values())])
    edit = edit_of(method, model, means, donors_of, layer, head)
    # Through the bridge: nothing of it rests on the plain model.
    runs = [tiny.run(few[1].inputs, save=hooks, edit=edits) for edits in ((), [edit])]
    state = board_state(boards)[where]
    b = study.ablations
    found = b.board[b[method], layer, head]
    for point, hook in ((2, hooks[0]), (3, hooks[1])):
        right = [(probes.board(hook).predict(acts[hook])[where] == state).double() for _, acts in runs]
        for c in range(3):
            wanted = float((right[1] - right[0])[state == c].mean())
            assert float(found[point, c, 0]) == pytest.approx(wanted, abs=1e-3)
        assert float(found[point, 3, 0]) == pytest.approx(float((right[1] - right[0]).mean()), abs=1e-3)
    assert found[0].isnan().all() and found[1].isnan().all()  # no probe at its resid_mid; before the head
    legal = legal_tokens(boards.legal[where])
    before, after = (score_positions(logits[where], legal) for logits, _ in runs)
    for i, name in enumerate(PLAY):
        wanted = float((after[name] - before[name]).mean())
        assert float(b.play[b[method], layer, head, i, 0]) == pytest.approx(wanted, abs=1e-3)
    p, q = (logits[where].log_softmax(-1) for logits, _ in runs)
    wanted = float((p.exp() * (p - q)).sum(-1).mean())
    assert wanted > 1e-4
    assert float(b.kl[b[method], layer, head, 0]) == pytest.approx(wanted, rel=1e-2)


def test_a_head_that_writes_nothing_is_not_missed(model, probes, some):
    weights = dict(model.weights)
    weights["blocks.1.attn.W_O"] = weights["blocks.1.attn.W_O"].clone()
    weights["blocks.1.attn.W_O"][2] = 0
    mute = plain.PlainModel(model.shape, {}, model.hash, "mute", weights)
    means = head_means(mute, some[0], band=BAND)
    found = ablate_heads(mute, probes, means, *some, band=BAND, games=FEW)
    assert (found.board[:, 1, 2].nan_to_num() == 0).all()
    torch.testing.assert_close(found.kl[:, 1, 2], torch.zeros(5, 3), atol=1e-6, rtol=0)
    assert (found.kl[:, 1, 1, 0] > 1e-5).all()


def test_the_control_writes_as_much_in_other_directions():
    turn = _rotation(24, seed=1)
    x = torch.randn(7, 24)
    x = x - x.mean(-1, keepdim=True)
    torch.testing.assert_close((x @ turn).norm(dim=-1), x.norm(dim=-1))
    torch.testing.assert_close((x @ turn).mean(-1), torch.zeros(7), atol=1e-6, rtol=0)
    assert torch.nn.functional.cosine_similarity(x, x @ turn).abs().max() < 0.9


def test_an_unknown_replacement_is_refused(model, probes, some, study):
    assert "give some of mean" in refused(ablate_heads, model, probes, study.means, *some, games={"median": 3})
    assert "no ablation 'median'" in refused(study.ablations.__getitem__, "median")


# ---- the bundle -----------------------------------------------------------------------------------------


def test_a_saved_study_is_the_same(study, tmp_path):
    study.save(tmp_path / "heads.safetensors")
    again = HeadStudy.load(tmp_path / "heads.safetensors")
    assert again.about == study.about and again.table() == study.table()
    for part in ("means", "attention", "writing", "reading", "ablations"):
        for name, value in vars(getattr(study, part)).items():
            other = getattr(getattr(again, part), name)
            if isinstance(value, torch.Tensor):
                assert other.dtype == value.dtype and torch.equal(other.nan_to_num(), value.nan_to_num()), name
            else:
                assert other == value, name


def test_a_damaged_or_foreign_file_is_refused(study, tmp_path):
    path = tmp_path / "heads.safetensors"
    study.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    assert str(path) in refused(HeadStudy.load, path)
    assert "not a study of heads" in refused(HeadStudy.load, TINY)
    assert "none.safetensors" in refused(HeadStudy.load, tmp_path / "none.safetensors")


def test_the_table_has_every_head_and_its_caption(study):
    lines = study.table().splitlines()
    assert [line.split()[0] for line in lines[1:13]] == [f"L{i}H{j}" for i in range(3) for j in range(4)]
    assert "6 held-out games" in lines[-1] and "40 other games" in lines[-1] and "mean 5" in lines[-1]
    page = study._repr_html_()
    assert page.count("<tr>") == 13 and "<td>L2H3</td>" in page


def test_a_summary_repeats_the_tensors(study):
    s = study.summary("L1H2")
    a, b = study.attention, study.ablations
    assert s.attends["mine"].value == pytest.approx(float(a.to[1, 2, 1, 0]))
    assert s.attends["mine"].baseline == pytest.approx(float(a.uniform[1]))
    assert s.kind == study.kind("L1H2") and s.read.baseline == study.reading.constant_square_ply
    assert s.board["last"].value == pytest.approx(float(b.board[b["mean"], 1, 2, 3, 3, 0]))
    assert s.board["last"].baseline == pytest.approx(float(b.board[b["random direction"], 1, 2, 3, 3, 0]))
    assert s.frozen["last"].value == pytest.approx(float(b.board[b["frozen pattern"], 1, 2, 3, 3, 0]))
    assert s.moves["top_n_error"].value == pytest.approx(float(b.play[b["mean"], 1, 2, 3, 0]))
    assert "L0H0 to L2H3" in refused(study.summary, "L3H0")
    assert "no head" in refused(study.summary, "L0N3")


def test_probes_of_another_model_are_refused(probes, some, model):
    other = plain.PlainModel(model.shape, {}, "0" * 16, "other", model.weights)
    assert "trained on model" in refused(study_heads, other, probes, *some, band=BAND)


def test_a_study_is_named_by_its_probes(probes):
    changed = ProbeSet((probes.probes[0],), {})
    assert fingerprint(probes) != fingerprint(changed) and fingerprint(probes) == fingerprint(probes)


def test_the_workbench_keeps_its_study(probes, tmp_path, monkeypatch):
    import reports.workbench
    from reports import open_model

    probes.save(tmp_path / "some.probes.safetensors")
    opened = {"model": TINY, "probe": tmp_path / "some.probes.safetensors", "games": 12, "cache": tmp_path}
    first = open_model(**opened).heads
    monkeypatch.setattr(reports.workbench, "study_heads", None)  # not to be called again
    again = open_model(**opened).heads
    assert again.table() == first.table()
    bench = open_model(**opened)
    assert len(bench.gallery.games) == first.about["games"] + first.about["train_games"]
    assert bench.gallery.n_held_out == first.about["games"]
