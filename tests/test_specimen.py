"""A specimen's figures are those of the analyses behind them; its file is whole or refused."""

import html
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import probes
from circuits import models, plain
from circuits.behaviour import play_by_ply, play_quality
from circuits.errors import InputError
from circuits.games import Games, generate
from circuits.pattern_neurons import pattern_neurons
from circuits.patterns import FACTS, PATTERNS
from probes import baselines, training
from probes.specimen import HELD_OUT_SEED, Specimen, examine

TINY = Path(__file__).parent / "assets" / "tiny.safetensors"
N = 60


@pytest.fixture(scope="module", autouse=True)
def short_of_steps():
    """Probes of few steps: what is compared here is trained alike."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "STEPS", 60)
        yield


@pytest.fixture(scope="module")
def twin():
    return plain.load(TINY)


@pytest.fixture(scope="module")
def specimen(twin):
    return examine(twin, N, play_games=30, pattern_games=45)


@pytest.fixture(scope="module")
def games():
    return generate(N, HELD_OUT_SEED)


# ---- play by ply


def test_play_by_ply_is_play_quality_of_every_ply(twin, games):
    by_ply = play_by_ply(twin, games[:20])
    figures = by_ply.figures()
    for ply in (0, 17, 58):
        alone = play_quality(twin, games[:20], plies=slice(ply, ply + 1))
        assert by_ply.quality(slice(ply, ply + 1)) == alone
        assert int(by_ply.positions[ply]) == alone.positions
        for name, values in figures.items():
            assert len(values) == 59 and values[ply] == pytest.approx(getattr(alone, name))
    assert by_ply.quality() == play_quality(twin, games[:20])


def test_play_by_ply_where_no_game_has_a_position(twin, games):
    short = play_by_ply(twin, Games.of(games.tokens[:2, :3]))
    assert short.positions.tolist() == [2, 2, 2] + [0] * 56
    for values in short.figures().values():
        assert None not in values[:3] and set(values[3:]) == {None}
    with pytest.raises(InputError, match="no position"):
        short.quality(slice(3, None))


# ---- the figures


def test_play(specimen, twin, games):
    quality = play_quality(twin, games[:30])
    assert specimen.play == quality.to_dict()
    weights = [int(n) for n in play_by_ply(twin, games[:30]).positions]
    for name, by_ply in specimen.play_by_ply.items():
        total = sum(v * n for v, n in zip(by_ply, weights, strict=True) if n)
        assert total / sum(weights) == pytest.approx(specimen.play[name])


def test_probes(specimen, twin, games):
    hooks = [f"blocks.{i}.hook_resid_post" for i in range(3)]
    trained = probes.train(twin, games, hooks=hooks, tasks_=("board", "board_absolute"))
    evaluation = probes.evaluate(twin, trained, games, with_baselines=False)
    assert specimen.mine_theirs == evaluation.accuracy and specimen.standard_error == evaluation.standard_error
    assert all(a > b > 0.5 for a, b in zip(specimen.mine_theirs, specimen.black_white, strict=True))


def test_pattern_neurons_and_facts(specimen, twin, games):
    for found in pattern_neurons(twin, games[:45]):
        counts = specimen.patterns[str(found.threshold)]
        assert counts["released"] == tuple(found.released.sum(1).tolist())
        assert counts["strict"] == tuple(found.strict.sum(1).tolist())
        assert counts["covered"] == int(found.patterns.flatten(0, 1).any(0).sum())
        assert counts["covered late"] == int(found.patterns[1].any(0).sum())  # L1 of L0..L2
        assert all(s <= r <= 128 for s, r in zip(counts["strict"], counts["released"], strict=True))
    low, high = (specimen.one_fact[bar] for bar in ("0.5", "0.9"))
    assert all(128 >= a >= b for a, b in zip(low, high, strict=True)) and sum(low) > 0
    assert len(FACTS) == 1408 and len(PATTERNS) == 960


def test_the_bridge_gives_the_same(tiny, specimen):
    other = examine(tiny, N, play_games=30, pattern_games=45)
    assert other.about["model_hash"] == specimen.about["model_hash"]
    assert other.play == pytest.approx(specimen.play, rel=1e-4)
    assert other.mine_theirs == pytest.approx(specimen.mine_theirs, abs=2e-3)
    for ours, theirs in ((other.one_fact, specimen.one_fact), (other.patterns, specimen.patterns)):
        assert json.dumps(ours).count(",") == json.dumps(theirs).count(",")
    assert abs(sum(other.one_fact["0.5"]) - sum(specimen.one_fact["0.5"])) <= 2


def test_a_random_model_is_no_specimen(twin, specimen):
    """Its board is read worse, its neurons describe fewer facts, and it plays at chance."""
    random = examine(models.random_twin(twin), N, play_games=10, pattern_games=45)
    assert random.play["illegal_top1"] > 0.8 * random.play["chance_illegal_top1"] > 2 * specimen.play["illegal_top1"]
    assert all(a > b for a, b in zip(specimen.mine_theirs, random.mine_theirs, strict=True))
    assert sum(random.patterns["0.9"]["released"]) <= sum(specimen.patterns["0.9"]["released"])


def test_what_it_says_of_itself(specimen, twin, games):
    about = specimen.about
    assert about["model_hash"] == twin.hash and about["games"]["fingerprint"] == games.fingerprint
    assert (about["probe_games"], about["play_games"], about["fact_games"]) == (N, 30, N)
    assert (about["pattern_games"], about["maxima_games"]) == (30, 15)
    assert about["parameters"] == sum(w.numel() for w in models.read_checkpoint(TINY).weights.values())


def test_more_games_for_one_part(twin):
    """Parts take the first games of one set, so a figure does not depend on what else is measured."""
    a, b = examine(twin, 30, play_games=50), examine(twin, 30)
    assert a.about["play_games"] == 50 and b.about["play_games"] == 30
    assert (a.mine_theirs, a.patterns, a.one_fact) == (b.mine_theirs, b.patterns, b.one_fact)
    assert a.play != b.play


@pytest.mark.parametrize("options", [{"n_games": 0}, {"n_games": 20, "pattern_games": 2}, {"n_games": 1}])
def test_too_few_games(twin, options):
    with pytest.raises(InputError) as info:
        examine(twin, **options)
    assert "\n" not in str(info.value)


# ---- table and file


def test_table(specimen):
    text = specimen.table()
    lines = text.splitlines()
    rows = [line.split() for line in lines if re.match(r" *(L\d|all) ", line)]
    assert [row[0] for row in rows] == ["L0", "L1", "L2", "all"]
    for i, row in enumerate(rows[:3]):
        assert row[1] == f"{100 * specimen.mine_theirs[i]:.1f}" and row[3] == f"{100 * specimen.black_white[i]:.1f}"
        assert row[4:8] == [str(specimen.patterns[t][k][i]) for t in ("0.95", "0.9") for k in ("released", "strict")]
        assert row[-3:] == ["-"] * 3  # three layers have none of eight to stand beside
    assert rows[3][-1] == "627" and "960" in lines[-1] and "939" in lines[-1]
    assert f"{100 * specimen.play['illegal_top1']:.3f} %" in text and "published: 0.01 %" in text


def test_table_of_eight_layers_has_the_published_figures_beside(specimen):
    def eight(x):
        return (x * 3)[:8] if isinstance(x, tuple) else x

    shape = specimen.about["shape"] | {"n_layers": 8}
    wide = replace(
        specimen,
        about=specimen.about | {"shape": shape},
        mine_theirs=eight(specimen.mine_theirs),
        black_white=eight(specimen.black_white),
        standard_error=eight(specimen.standard_error),
        patterns={t: {k: eight(v) for k, v in found.items()} for t, found in specimen.patterns.items()},
        one_fact={t: eight(v) for t, v in specimen.one_fact.items()},
    )
    rows = [line.split() for line in wide.table().splitlines() if re.match(r" *L\d ", line)]
    assert rows[0][-3:] == ["90.9", "62.2", "2"] and rows[5][-3:] == ["99.4", "74.9", "247"]


def test_the_constant_guess_stands_beside_the_probes(specimen, games):
    guess = specimen.about["constant_guess"]
    for name, task in (("mine_theirs", "board"), ("black_white", "board_absolute")):
        assert guess[name] == baselines.constant(*games.split(0.2, 0), task=task).per_square_and_ply
        assert 0.4 < guess[name] < max(getattr(specimen, name))
    row = next(line.split() for line in specimen.table().splitlines() if line.lstrip().startswith("guess "))
    assert row == ["guess", f"{100 * guess['mine_theirs']:.1f}", f"{100 * guess['black_white']:.1f}"]
    assert "guess: the most frequent state of each square at each ply" in specimen.table()
    assert f"(constant guess {100 * guess['mine_theirs']:.1f})" in repr(specimen)


def test_a_file_from_before_the_constant_guess_is_read(specimen):
    about = {k: v for k, v in specimen.about.items() if k != "constant_guess"}
    old = Specimen.from_json(replace(specimen, about=about).to_json())
    assert "guess" not in old.table() + repr(old) and "L2" in old.table()


def test_shows_itself_in_a_notebook(specimen):
    shown = replace(specimen, about=specimen.about | {"model": "<b>&"})
    assert shown._repr_html_() == f"<pre>{html.escape(shown.table())}</pre>" and "<b>" not in shown._repr_html_()
    text = repr(specimen)
    best = max(specimen.mine_theirs)
    assert len(text) < 300 and text.count("\n") <= 1
    assert text.startswith(f"{specimen.about['model']}: {100 * specimen.play['illegal_top1']:.3f} %")
    assert f"after L{specimen.mine_theirs.index(best)}, {100 * best:.1f} %" in text
    assert f"{sum(specimen.patterns['0.95']['released'])} pattern neurons at 0.95" in text


def test_json_round_trip(specimen, tmp_path):
    path = tmp_path / "deep" / "specimen.json"
    text = specimen.to_json(path)
    assert Specimen.from_json(text) == Specimen.from_json(path) == Specimen.from_json(str(path)) == specimen
    assert path.read_text().strip() == text and Specimen.from_json(text).to_json() == text
    assert Specimen.from_json(text).table() == specimen.table()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_refused(specimen, data):
    """Cut anywhere, or with one character changed: refused in one line, unless nothing that it says changed."""
    text = specimen.to_json()
    place = data.draw(st.integers(0, len(text) - 1))
    if data.draw(st.booleans()):
        damaged = text[:place]
    else:
        other = data.draw(st.sampled_from('0123456789"{}[],:. -e\x00x'))
        damaged = text[:place] + other + text[place + 1 :]
    try:
        assert Specimen.from_json(damaged if damaged.startswith("{") else "{" + damaged) == specimen
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert len(damaged) == len(text)


def test_what_is_no_specimen(specimen, tmp_path):
    for content in ("{}", "[]", "{", '{"format": "othello-circuits specimen 1"}', "{" * 5000):
        with pytest.raises(InputError, match=r"specimen|damaged"):
            Specimen.from_json(content if content.startswith("{") else "{" + content)
    with pytest.raises(InputError, match="no readable specimen"):
        Specimen.from_json(tmp_path / "none.json")
    edited = json.loads(specimen.to_json())
    edited["mine_theirs"][0] += 0.01
    with pytest.raises(InputError, match="damaged or edited"):
        Specimen.from_json(json.dumps(edited))
    edited = json.loads(specimen.to_json()) | {"extra": 1}
    with pytest.raises(InputError, match="damaged or edited"):
        Specimen.from_json(json.dumps(edited))
