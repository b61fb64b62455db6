"""Models side by side: a model and itself, planted differences, slow ways of the same figures, the command line."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from circuits import checkpoints, plain
from circuits.arithmetic import combine
from circuits.behaviour import play_quality
from circuits.errors import InputError
from circuits.games import Games, generate, save
from circuits.gpt import initial_weights
from circuits.training.by_game import PerGame, play_by_game
from probes import comparison, training
from probes.comparison import Comparison, compare
from probes.evaluation import evaluate
from reports import cli

TINY = Path(__file__).parent / "assets" / "tiny.safetensors"


@pytest.fixture(scope="module", autouse=True)
def fewer_steps():
    """Enough for probes of so small a model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "STEPS", 40)
        yield


@pytest.fixture(scope="module")
def a():
    return checkpoints.read(TINY)


def noisy(model, seed=0, scale=0.01):
    generator = torch.Generator().manual_seed(seed)
    weights = {n: w + scale * torch.randn(w.shape, generator=generator) for n, w in model.weights.items()}
    return replace(model, weights=weights, name=f"noisy {seed}", card={"name": f"noisy {seed}"})


def turned(model, seed=0):
    """The same function with the axes of the residual stream in another order."""
    order = torch.randperm(model.shape.d_model, generator=torch.Generator().manual_seed(seed))

    def permute(name, w):
        last = name.rsplit(".", 1)[1]
        if last in ("W_E", "W_pos", "W_O", "W_out", "b_O", "b_out", "w", "b"):
            return w[..., order]
        if last in ("W_Q", "W_K", "W_V"):
            return w[:, order]
        return w[order] if last in ("W_in", "W_U") else w

    weights = {n: permute(n, w).contiguous() for n, w in model.weights.items()}
    return replace(model, weights=weights, name="turned")


@pytest.fixture(scope="module")
def sets():
    return generate(80, seed=11), generate(30, seed=12)


@pytest.fixture(scope="module")
def found(a, sets):
    """A, its copy, the same function in other directions, and a noisy one."""
    return compare([a, replace(a, name="copy"), turned(a), noisy(a)], sets, held_out=0.25)


# --- figures by game --------------------------------------------------------------------------------------------


def test_play_by_game_sums_to_the_play_of_all_games(tiny, games):
    quality, found = play_quality(tiny, games), play_by_game(tiny, games)
    for name in ("illegal_top1", "illegal_mass", "kl_to_uniform_legal", "top_n_error"):
        figure, guess = found[name]
        assert figure.value == pytest.approx(getattr(quality, name), abs=1e-6)
        assert len(figure.sums) == len(games) and int(figure.counts.sum()) == quality.positions
        chance = {"kl_to_uniform_legal": "kl", "illegal_mass": "illegal_top1"}.get(name, name)
        assert guess == pytest.approx(getattr(quality, f"chance_{chance}"))


def test_the_move_played_is_scored_as_by_hand(tiny):
    """Also at the end of an unfinished game, where there are legal moves and no next one."""
    games = Games.of(generate(3, seed=5).tokens[:, :20])
    found, logp = play_by_game(tiny, games), tiny(games.inputs).log_softmax(-1)
    for game in range(3):
        moves = games.tokens[game].tolist()
        losses = [-float(logp[game, t, moves[t + 1]]) for t in range(19)]
        hits = [int(logp[game, t].argmax()) == moves[t + 1] for t in range(19)]
        loss, accuracy = found["next_move_loss"][0], found["next_move_accuracy"][0]
        assert float(loss.sums[game]) == pytest.approx(sum(losses), abs=1e-4) and float(loss.counts[game]) == 19
        assert float(accuracy.sums[game]) == sum(hits)
    assert found["illegal_top1"][0].counts.tolist() == [20, 20, 20]
    counts = [(bits & (1 << 64) - 1).bit_count() for bits in games.boards().legal[:, :19].flatten().tolist()]
    assert found["next_move_loss"][1] == pytest.approx(sum(math.log(n) for n in counts) / 57)
    assert found["next_move_accuracy"][1] == pytest.approx(sum(1 / n for n in counts) / 57)


def test_games_without_a_next_move_are_refused(tiny):
    with pytest.raises(InputError, match="no position of tokens has a next move"):
        play_by_game(tiny, Games.of(generate(3, seed=5).tokens[:, :1]))


def test_standard_errors_are_those_of_repeated_draws():
    """Of many sets of games with a common part: paired errors are smaller, and both are as wide as the draws."""
    generator = torch.Generator().manual_seed(0)
    drawn = []
    for _ in range(400):
        counts = torch.randint(40, 61, (50,), generator=generator).double()
        hard, one, two = torch.randn(3, 50, generator=generator, dtype=torch.float64)
        a, b = (PerGame((1 + hard + 0.2 * own) * counts, counts) for own in (one, two))
        drawn.append((a.value, a.standard_error, (b - a).value, (b - a).standard_error))
    value, error, difference, paired = torch.tensor(drawn, dtype=torch.float64).unbind(1)
    assert float(value.std()) == pytest.approx(float(error.mean()), rel=0.12)
    assert float(difference.std()) == pytest.approx(float(paired.mean()), rel=0.12)
    assert paired.mean() < 0.4 * error.mean()
    assert PerGame(torch.ones(3).double(), torch.tensor([2.0, 0.0, 0.0])).standard_error is None


# --- comparisons ------------------------------------------------------------------------------------------------


def test_a_model_equals_its_copy_in_everything(found):
    for play in found.play:
        for by in play["figures"].values():
            assert by["B"]["value"] == by["A"]["value"] and by["B"]["difference"] == by["B"]["difference_se"] == 0
            assert by["A"]["difference"] is None
    for reading in found.reading:
        for task in ("board", "board_absolute"):
            by = reading["accuracy"][task]
            assert by["B"]["value"] == by["A"]["value"] and set(by["B"]["difference"]) == {0.0}
        transfer = reading["transfer"]["B"]
        assert transfer["kept"] == (1.0, 1.0, 1.0) and transfer["value"] == reading["accuracy"]["board"]["A"]["value"]
    assert all(u["norm"] == 0 for u in found.updates["B"])
    assert all(row["update"] is None for row in found.inside["B"])
    assert found.models["A"]["hash"] == found.models["B"]["hash"] != found.models["B2"]["hash"]


def test_the_same_function_in_other_directions_is_as_good_and_not_the_same(found):
    """What tells the transfer from the accuracy: equal play and own probes, and A's probe reads nothing there."""
    for play, reading in zip(found.play, found.reading, strict=True):
        for name, by in play["figures"].items():
            assert by["B2"]["difference"] == pytest.approx(0, abs=2e-3 if "1" in name or "acc" in name else 1e-4)
        own, transfer = reading["accuracy"]["board"], reading["transfer"]["B2"]
        assert own["B2"]["value"] == pytest.approx(own["A"]["value"], abs=0.004)
        assert max(transfer["kept"]) < 0.5 and max(transfer["difference"]) < -0.1


def test_noise_costs_what_the_differences_say(found):
    for play in found.play:
        for by in play["figures"].values():
            assert by["B3"]["difference"] == pytest.approx(by["B3"]["value"] - by["A"]["value"])
            assert by["B3"]["difference_se"] > 0
        assert play["figures"]["kl_to_uniform_legal"]["B3"]["difference"] > 0
    for reading in found.reading:
        transfer, own = reading["transfer"]["B3"], reading["accuracy"]["board"]["B3"]
        for t, d, k, o in zip(transfer["value"], transfer["difference"], transfer["kept"], own["value"], strict=True):
            constant = reading["constant"]["board"]
            assert d == pytest.approx(t - o) and k == pytest.approx((t - constant) / (o - constant))
        assert all(0.5 < k < 1.01 for k in transfer["kept"])


def test_accuracies_are_those_of_the_evaluation(found, a, tiny, sets):
    games = sets[0]
    trained = training.train(tiny, games, hooks=found.reading[0]["points"], tasks_=comparison.TASKS, held_out=0.25)
    evaluation = evaluate(tiny, trained, games, with_baselines=False)
    here = found.reading[0]["accuracy"]["board"]["A"]
    assert here["value"] == evaluation.accuracy and here["se"] == pytest.approx(evaluation.standard_error)
    assert found.reading[0]["constant"]["board"] == evaluation.baselines["constant per square and ply"][0]
    assert found.reading[0]["positions"] == evaluation.about["positions"]


def test_only_held_out_games_are_measured(found, sets):
    for play, reading, games in zip(found.play, found.reading, sets, strict=True):
        assert play["measured_games"] == reading["measured_games"] == len(games.split(0.25)[1])
        assert play["games"] == games.source and play["fingerprint"] == games.fingerprint
    assert found.about["probe_games"] == len(sets[0].split(0.25)[0])


def test_further_sets_can_be_measured_whole(a, sets):
    both = compare([a, noisy(a)], sets, probes=False, held_out=0.25, whole=True)
    assert [p["measured_games"] for p in both.play] == [len(sets[0].split(0.25)[1]), len(sets[1])]
    assert both.reading == () and both.inside == {} and both.about["probe_games"] == 0
    assert {u["component"] for u in both.updates["B"]} >= {"L2 W_out", "whole model"}


def test_extra_models_are_measured_and_have_no_update(a, sets):
    b = noisy(a)
    extra = {"C": combine("A - (B - A)", {"A": a, "B": b}), "R": replace(a, weights=initial_weights(a.shape, 0))}
    found = compare({"A": a, "B": b}, sets[0], extra=extra, probes=False, held_out=0.25)
    top1 = {m: row["value"] for m, row in found.play[0]["figures"]["illegal_top1"].items()}
    assert list(top1) == ["A", "B", "C", "R"] and top1["A"] < top1["B"] < top1["R"]
    assert top1["R"] > 0.7 * found.play[0]["guess"]["illegal_top1"]
    assert list(found.updates) == ["B"] and found.alignment == ()


def test_open_models_are_compared_without_their_weights(tiny, a, sets):
    """Of either kind: the first computed by TransformerLens, the second in plain torch."""
    noise = noisy(a)
    found = compare([tiny, plain.load(noise)], sets[0], probes=False, held_out=0.25)
    raw = compare([a, noise], sets[0], probes=False, held_out=0.25)
    assert found.models == raw.models and found.updates == {} and raw.updates
    for name, by in found.play[0]["figures"].items():
        for model, row in by.items():
            assert row["value"] == pytest.approx(raw.play[0]["figures"][name][model]["value"], abs=1e-5)


def test_a_comparison_survives_json_and_shows_itself(found, tmp_path):
    text = found.to_json(tmp_path / "c.json")
    assert Comparison.from_json(text) == Comparison.from_json(tmp_path / "c.json") == found
    table, html = found.table(), found._repr_html_()
    assert table.count("Play on ") == 2 and table.count("mine/theirs, per cent") == 2
    here = found.reading[0]["accuracy"]["board"]
    row = next(line for line in table.splitlines() if line.startswith("L1 post"))
    assert row.split()[2] == f"{100 * here['A']['value'][1]:.2f}" in html
    assert f"{100 * found.updates['B3'][-1]['relative']:.2f} x1.0" in table
    assert "-0.00" not in table and html.count("<table>") == html.count("</table>") > 10
    assert all(len(line) <= 110 for line in table.splitlines() if line.startswith(("Play", "Weight", "Align")))
    for broken, words in (("{}", "its fields differ"), ("{", "no readable comparison")):
        with pytest.raises(InputError, match=words):
            Comparison.from_json(broken)


def test_what_cannot_be_compared_is_said(a, sets):
    small = replace(a.shape, d_model=32)
    b = checkpoints.Checkpoint(small, initial_weights(small, 0), {}, "small")
    for given, games, words in (
        ([a], sets[0], "1 model to compare: give at least two"),
        ([a, b], sets[0], r"A is 3x64 \(tiny\), B is 3x32 \(small\): models of one shape"),
        ([a, a], [], "no games"),
        ([a, a], sets[0][:1], "give more games"),
        ([a, a], [Games.of(sets[0].tokens[:, :4])], "no position at plies 5..53"),
    ):
        with pytest.raises(InputError, match=words):
            compare(given, games)


# --- the command line -------------------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch, capsys, tmp_path, a):
    """Call the entry point beside two model files: (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    checkpoints.write(a, "a.safetensors", torch.float32)
    checkpoints.write(noisy(a), "b.safetensors", torch.float32)

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["othello-circuits", "compare", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        return exit_.value.code, *capsys.readouterr()

    return call


def test_command_prints_json_alone_and_saves_what_it_made(run, a, sets, tmp_path):
    save(sets[1], "more.txt")
    status, out, err = run(
        "a.safetensors", "b.safetensors", "--games", "60", "--games", "more.txt", "--arithmetic", "A - (B - A)",
        "--out-model", "made/away.safetensors", "--out", "c.json", "--random-weights", "--json",
    )  # fmt: skip
    assert status == 0 and err == "", err
    found = json.loads(out)
    assert Comparison.from_json(tmp_path / "c.json") == Comparison.from_json(out)
    assert list(found["models"]) == ["A", "B", "C", "R"] and len(found["play"]) == len(found["reading"]) == 2
    made = checkpoints.read("made/away.safetensors")
    expected = combine("2*A - B", {"A": a, "B": noisy(a)})
    assert all(torch.equal(made.weights[n], w) for n, w in expected.weights.items())
    assert made.name == "away" and made.card["expression"] == "A - (B - A)"
    assert found["models"]["C"]["name"] == "away" and found["models"]["C"]["made of"] == "A - (B - A)"
    # What was saved is compared like any other model, and is what was measured.
    status, out, _ = run("a.safetensors", "made/away.safetensors", "--games", "60", "--no-probes", "--json")
    again = json.loads(out)["play"][0]["figures"]["illegal_mass"]["B"]["value"]
    assert status == 0 and again == pytest.approx(found["play"][0]["figures"]["illegal_mass"]["C"]["value"], abs=1e-9)


def test_command_prints_tables(run):
    status, out, _ = run("a.safetensors", "b.safetensors", "b.safetensors", "--games", "60", "--no-probes")
    assert status == 0
    assert out.startswith("Models of one shape") and "Alignment: cosine of B-A with B2-A" in out
    assert "B2-A" in out and "+1.00" in out


def test_command_refuses_in_one_line(run, tmp_path):
    small = replace(checkpoints.read("a.safetensors").shape, d_mlp=64)
    other = checkpoints.Checkpoint(small, initial_weights(small, 0), {}, "small")
    checkpoints.write(other, "small.safetensors")
    both = ("a.safetensors", "b.safetensors", "--games", "20")
    for arguments, words in (
        (("a.safetensors",), "a.safetensors alone: give at least two models"),
        ((*both, "--arithmetic", "A - (B"), "'A - (B', column 7: expected ')' or an operator, found the end"),
        ((*both, "--arithmetic", "A - B2"), "column 5: there is no model 'B2'; there are A, B"),
        ((*both, "--out-model", "x.safetensors"), "give a sum such as"),
        ((*both, "--arithmetic", "A", "--out-model", "x.pth"), "a name that ends so"),
        ((*both, "--arithmetic", "A", "--out-model", "b.safetensors"), "b.safetensors exists already"),
        ((*both, "--out", str(tmp_path / "a.safetensors" / "x.json")), "cannot write"),
        ((*both, "--held-out", "1.5"), "held-out fraction 1.5"),
        (("a.safetensors", "nothing.safetensors"), "no model file at nothing.safetensors"),
        (("a.safetensors", "small.safetensors"), "A is 3x64 (tiny, d_mlp 128), B is 3x64 (small, d_mlp 64)"),
        (("a.safetensors", "b.safetensors", "--games", "0"), "give at least 1 game"),
        ((*both, "--device", "banana"), "device 'banana' cannot be used here"),
        ((), "Missing argument"),
    ):
        status, out, err = run(*arguments)
        assert status == 2 and out == "" and err.count("\n") == 1 and words in err, (arguments, err)
    assert checkpoints.read("b.safetensors").name == "noisy 0"
    assert not Path("x.safetensors").exists() and not list(tmp_path.glob("*.json"))


def test_command_never_writes_over_a_model(run, a, tmp_path, monkeypatch):
    """Neither one that is named by its folder, nor any other file; refused before a model is read."""
    checkpoints.write(a, "runs/model.safetensors", torch.float32)
    Path("other.safetensors").write_text("precious")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*.*")}
    monkeypatch.setattr("circuits.models.read_checkpoint", lambda *_: pytest.fail("a model was read"))
    both = ("runs", "b.safetensors", "--games", "20", "--no-probes", "--arithmetic", "A - (B - A)")
    for place in ("runs/model.safetensors", "b.safetensors", "other.safetensors"):
        status, out, err = run(*both, "--out-model", place)
        assert status == 2 and out == ""
        assert err == f"othello-circuits: {place} exists already: remove it or give another --out-model\n"
    assert "device 'banana' cannot" in run(*both, "--device", "banana")[2]  # nor is one read for no device
    assert {p: p.read_bytes() for p in tmp_path.rglob("*.*")} == before


def test_a_refused_comparison_leaves_no_model(run, tmp_path):
    both = ("a.safetensors", "b.safetensors", "--games", "20", "--no-probes", "--arithmetic", "A")
    before = sorted(os.listdir(tmp_path))
    for options, words in (
        (("--device", "cuda" if not torch.cuda.is_available() else "cuda:99"), "cannot be used here"),
        (("--held-out", "1.5"), "held-out fraction 1.5"),
        (("--out", "a.safetensors/x.json"), "cannot write a.safetensors/x.json"),
    ):
        status, out, err = run(*both, "--out-model", "q.safetensors", *options)
        assert status == 2 and out == "" and err.count("\n") == 1 and words in err
        assert sorted(os.listdir(tmp_path)) == before
