"""Edits: equal to a slow oracle, nothing where nothing is asked, the same in batches of any size."""

from dataclasses import replace

import pytest
import torch
from oracles_editing import edited_logits, gradient_steps

import probes
from circuits import plain
from circuits.causes.counterfactuals import counterfactuals
from circuits.editing.board_edits import EditCases
from circuits.editing.cases import natural, unnatural
from circuits.editing.changes import EPS, Ground
from circuits.editing.contrasts import contrasts
from circuits.editing.interventions import METHODS, Editor, Method, default
from circuits.editing.scores import NAMES, ideal, score
from circuits.editing.stream_means import stream_means
from circuits.errors import InputError
from circuits.games import generate
from circuits.last_ply import LastPly

STRENGTH = {"negate": 2.0, "absolute": 4.0, "class mean": 2.0, "contrast": 0.5, "target vector": 3.0,
            "mean difference": 1.5, "gradient": 0.05, "head shift": 2.0}  # fmt: skip


@pytest.fixture(scope="module")
def editor(tiny, tiny_files):
    model = plain.of(tiny)
    readers = probes.load(tiny, tiny_files["probe"]).board_readers()
    means = stream_means(model, generate(60, seed=2))
    posts = [f"blocks.{i}.hook_resid_post" for i in range(3)]
    generator = torch.Generator().manual_seed(0)
    made_up = {hook: torch.randn(64, 3, 3, 64, generator=generator) for hook in posts}
    return Editor(model, readers, Ground(means, made_up))


@pytest.fixture(scope="module")
def cases():
    return unnatural(24, seed=3, squares=2)


def method(name: str, layers=(0, 1), **more) -> Method:
    return Method(name, STRENGTH[name], layers, heads=3, **more)


VARIANTS = [
    *(method(name) for name in METHODS if name != "gradient"),
    method("target vector", point="mid", reader=1),
    *(method(name, solve="in turn") for name in ("negate", "class mean")),
    *(method(name, plies="all") for name in ("absolute", "class mean", "mean difference", "head shift", "negate")),
]


@pytest.mark.parametrize("how", VARIANTS, ids=str)
def test_equal_to_editing_by_hand(editor, cases, how):
    found = editor.run(cases, how)
    for row in range(0, len(cases), 5):
        slow = edited_logits(editor.model, editor.readers, editor.ground, cases, row, how)
        torch.testing.assert_close(found.after[row], slow, atol=2e-3, rtol=1e-4)
    assert (found.after - found.before).abs().amax(1).min() > 1e-3


def test_gradient_descent_is_adam(editor, cases):
    how = method("gradient", (1,), steps=5)
    made = {}
    edits, made = editor.edits(cases, how)
    last = LastPly.of(editor.model, cases.tokens[:, :59], cases.ply)
    _, saved = last.run(save=["blocks.1.hook_resid_post"])
    last.run(edits)
    reader, x = editor.readers["blocks.1.hook_resid_post"], saved["blocks.1.hook_resid_post"][:, 0]
    target = reader(x).softmax(-1)
    for row, (squares, after) in enumerate(zip(cases.square.tolist(), cases.after.tolist(), strict=True)):
        for square, state in zip(squares, after, strict=True):
            target[row, square] = torch.eye(3)[state]
    slow = gradient_steps(reader, x, target, 5, how.strength, EPS)
    torch.testing.assert_close(x + made["blocks.1.hook_resid_post"][:, 0], slow, atol=1e-4, rtol=1e-4)


def test_any_callable_can_be_descended(editor, cases):
    hidden = torch.randn(64, 32, generator=torch.Generator().manual_seed(1))
    out = torch.randn(32, 192, generator=torch.Generator().manual_seed(2))

    def two_layers(x):
        return (torch.relu(x @ hidden) @ out).unflatten(-1, (64, 3)) / 50

    hook = "blocks.0.hook_resid_post"
    other = Editor(editor.model, {hook: two_layers})
    how = Method("gradient", 0.05, (0,), steps=15)
    edits, _ = other.edits(cases, how)
    last = LastPly.of(other.model, cases.tokens[:, :59], cases.ply)
    loss = []
    for run in ([], edits):
        _, saved = last.run(run, save=[hook])
        log = two_layers(saved[hook][:, 0]).log_softmax(-1)
        chosen = log.gather(1, cases.square[:, :, None].expand(-1, -1, 3)).gather(2, cases.after[:, :, None])
        loss.append(-chosen.sum((1, 2)))
    assert (loss[1] < loss[0]).all()
    with pytest.raises(InputError, match="needs a linear reader"):
        other.run(cases, Method("absolute", 1.0, (0,)))


@pytest.mark.parametrize("how", [*(method(name) for name in METHODS), method("class mean", plies="all")], ids=str)
def test_editing_nothing_changes_nothing(editor, cases, how):
    nothing = replace(cases, square=torch.full_like(cases.square, -1), after=torch.full_like(cases.after, -1))
    found = editor.run(nothing, how)
    assert torch.equal(found.after, found.before)
    assert all(float(norm.max()) == 0 for norm in found.norm.values())


@pytest.mark.parametrize("how", [*(method(name) for name in METHODS), method("class mean", plies="all")], ids=str)
@pytest.mark.parametrize("control", [False, True])
def test_any_batch_size(editor, cases, how, control):
    whole, parts = (editor.run(cases, how, control=control, batch=b) for b in (100, 7))
    torch.testing.assert_close(whole.after, parts.after, atol=1e-4, rtol=1e-4)


def test_the_control_has_the_same_norms(editor, cases):
    how = method("class mean")
    edits, made = editor.edits(cases, how)
    LastPly.of(editor.model, cases.tokens[:, :59], cases.ply).run(edits)
    control = editor.run(cases, how, control=True)
    for hook, change in made.items():
        torch.testing.assert_close(control.norm[hook], change[:, 0].norm(dim=-1), atol=1e-4, rtol=1e-4)
    other = editor.run(cases, how, control=True, seed=1)
    assert not torch.allclose(control.after, other.after, atol=1e-2)


def test_joint_edits_reach_their_goals_and_hold_the_rest(editor, cases):
    hook = "blocks.1.hook_resid_post"
    u = editor.readers[hook].directions
    last = LastPly.of(editor.model, cases.tokens[:, :59], cases.ply)
    _, saved = last.run(save=[hook])
    errors = {}
    for solve in ("joint", "in turn", "hold others"):
        edits, made = editor.edits(cases, Method("absolute", 5.0, (1,), solve=solve))
        last.run(edits)
        x = (saved[hook] + made[hook])[:, 0]
        coordinates = torch.einsum("cd,ckd->ck", x, u[cases.square][:, :, 0])
        wanted = 5.0 * torch.tensor([0.0, -1.0, 1.0])[cases.after]
        errors[solve] = float((coordinates - wanted).abs().max())
    assert errors["joint"] < 1e-3 < errors["in turn"]
    # 124 directions in 64 dimensions cannot all be held; in a space wide enough they are.
    wide = torch.randn(200, 64, 3, generator=torch.Generator().manual_seed(5))
    from circuits.board_readers import BoardReader

    reader = BoardReader("x", wide, torch.zeros(64, 3))
    moves = torch.einsum("sad,tbd->satb", reader.dual, reader.directions)
    used = reader.defined.flatten()
    torch.testing.assert_close(moves.flatten(2).flatten(0, 1)[used][:, used], torch.eye(124), atol=1e-4, rtol=0)


def test_an_edit_to_what_is_there_moves_little(editor):
    game = generate(1, seed=5).tokens[0, :20]
    board = EditCases.given(game, [(28, "flip")]).boards
    same = EditCases.given(game, [(28, "mine" if int(board.mine) >> 28 & 1 else "theirs")], allow_noop=True)
    # Others write what the square is on average, or as surely as can be: the bundled model shows how little that does.
    edited = editor.run(same, method("class mean"))
    assert float((edited.after - edited.before).abs().max()) > 0
    still = editor.run(same, method("negate"))
    assert torch.equal(still.after, still.before)
    for name in ("mean difference", "head shift"):  # the difference of a state from itself
        still = editor.run(same, method(name))
        torch.testing.assert_close(still.after, still.before, atol=1e-5, rtol=0)


def test_contrasts_are_differences_of_the_pairs(tiny):
    model = plain.of(tiny)
    pairs = counterfactuals(300, "C2 mine", 1, keep=["C2 occupied"])
    hook = "blocks.1.hook_resid_post"
    table = contrasts(model, {(18, 2, 1): pairs}, [hook])[hook]
    ply = int(pairs.ply[0])
    streams = [model.run(t[:, :59].long(), save=[hook])[1][hook][0, ply] for t in (pairs.clean, pairs.corrupt)]
    torch.testing.assert_close(table[18, 1, 2], streams[0] - streams[1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(table[18, 2, 1], streams[1] - streams[0], atol=1e-4, rtol=1e-4)
    assert torch.isnan(table[19, 1, 2]).all() and not table[19, 1, 1].any()
    editor = Editor(model, {}, Ground(None, {hook: table}))
    with pytest.raises(InputError, match="no contrast pair turns"):
        editor.run(natural(6, seed=4), Method("contrast", 1.0, (1,)))


def test_scores_by_hand():
    cases = natural(12, seed=6, least_changed=2)
    logits = torch.randn(12, 61, generator=torch.Generator().manual_seed(3)) * 3
    found = score(logits, cases)
    for row in range(12):
        p = logits[row].softmax(-1)
        sets = []
        for board in (cases.boards[row], cases.edited[row]):
            from circuits.notation import SQUARE_TOKEN

            sets.append({int(SQUARE_TOKEN[s]) for s in range(64) if int(board.legal) >> s & 1})
        old, new = sets
        top = set((p[1:].topk(len(new)).indices + 1).tolist())
        played = {t for t in range(61) if p[t] > 0.01}
        assert float(found["error"][row]) == len(top - new) + len(new - top)
        assert float(found["F1"][row]) == pytest.approx(2 * len(played & new) / (len(played) + len(new)))
        assert float(found["newly legal"][row]) == pytest.approx(sum(float(p[t]) for t in new - old), abs=1e-5)
        assert float(found["newly illegal"][row]) == pytest.approx(sum(float(p[t]) for t in old - new), abs=1e-5)
        kl = sum(torch.log(torch.tensor(1 / len(new))) - p[t].log() for t in new) / len(new)
        assert float(found["KL"][row]) == pytest.approx(float(kl), abs=1e-4)
    best = ideal(cases)
    assert set(best) == set(NAMES)
    assert float(best["error"].max()) == 0 and float(best["KL"].abs().max()) < 1e-5 and float(best["F1"].min()) == 1
    assert (best["error original"] >= 1).all()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: Method("wish", 1.0, (0,)), "no method of an edit"),
        (lambda: Method("negate", -1.0, (0,)), "strength -1.0"),
        (lambda: Method("negate", 1.0, (0,), plies="some"), "choice of plies"),
        (lambda: Method("negate", 1.0, (0,), solve="by force"), "way to solve"),
    ],
)
def test_settings_that_make_no_sense(wrong, says):
    with pytest.raises(InputError, match=says):
        wrong()


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (Method("negate", 1.0, ()), "at least one layer"),
        (Method("negate", 1.0, (3,)), "layers 0..2"),
        (Method("negate", 1.0, (1, 1)), "given twice"),
        (Method("negate", 1.0, (1,), reader=7), "layer 7"),
    ],
)
def test_settings_that_the_model_cannot_do(editor, cases, how, says):
    with pytest.raises(InputError, match=says):
        editor.run(cases, how)


def test_missing_ground_is_named(editor, cases):
    bare = Editor(editor.model, editor.readers)
    for name, says in (("class mean", "needs the stream's means"), ("contrast", "needs contrast pairs")):
        with pytest.raises(InputError, match=says):
            bare.run(cases, method(name))
    with pytest.raises(InputError, match="no reader of the board"):
        Editor(editor.model, {}, editor.ground).run(cases, method("absolute"))


def test_the_default_fits_any_depth(tiny):
    assert default(tiny).layers and max(default(tiny).layers) < 3


def test_misuse_gets_one_line(editor, cases):
    with pytest.raises(InputError, match=r"strength 1e\+30: give a number from 0 to 1e\+06"):
        Method("class mean", 1e30, (1,))
    with pytest.raises(InputError, match="strength nan"):
        Method("class mean", float("nan"), (1,))
    with pytest.raises(InputError, match="at least 21 moves changed"):
        natural(2, least_changed=21)
    strong = editor.run(cases, Method("class mean", 1e6, (1,)))
    assert torch.isfinite(strong.after).all()
