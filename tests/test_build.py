"""From a workbench to records and a site: the numbers are the analyses' own, and a wrong one stops the build."""

import json
from dataclasses import replace

import pytest
import torch
from synthetic_verdict import verdict_of

from circuits import weights
from circuits.attribution import attribute, logit_targets
from circuits.errors import InputError
from circuits.features import board_state
from circuits.games import Address
from circuits.mining import Mining
from circuits.notation import LABELS, PLAYABLE, Unit
from circuits.patterns import FACTS
from reports import open_model
from reports.build import neuron_record
from reports.checks import PageError, check_page, check_record, sampled_paths
from reports.index_records import IndexRecord
from reports.neuron import NeuronReport
from reports.recompute import recompute
from reports.records import NeuronRecord
from reports.site_build import _how_made, build_site, default_units


@pytest.fixture(scope="module")
def unit(bench) -> Unit:
    """The neuron that one pattern explains best, so that no section of its record is empty."""
    r2 = torch.stack([bench.gallery.screen(i)[0].max(1).values for i in range(bench.model.shape.n_layers)])
    best = int(r2.argmax())
    return Unit(best // r2.shape[1], "neuron", best % r2.shape[1])


@pytest.fixture(scope="module")
def record(bench, unit) -> NeuronRecord:
    return neuron_record(bench, unit, "asked for by name")


def test_every_list_of_examples_shows_the_position_of_its_address(bench, record, unit):
    for examples in record.examples:
        assert examples.positions
        for e in examples.positions:
            row, ply = bench.games.locate(Address.parse(e.address))
            game = bench.games[row]
            moves = [LABELS[PLAYABLE[t - 1]] for t in game.tokens[0, : ply + 1].tolist()]
            assert e.transcript.split() == moves and e.last == moves[-1] and e.ply == ply
            assert list(e.board) == board_state(game.boards())[0, ply].tolist()
            _, acts = bench.model.run(game.inputs, save=[record.activity.hook])
            assert acts[record.activity.hook][0, ply, unit.index] == pytest.approx(e.activation, rel=1e-3, abs=1e-4)
            probabilities = bench.model(game.inputs).softmax(-1)[0, ply]
            first = e.top_moves[0]
            assert first.probability == pytest.approx(float(probabilities[1:].max()), rel=1e-4)
            assert first.square == LABELS[PLAYABLE[int(probabilities[1:].argmax())]]


def test_examples_are_in_order_and_in_the_band(bench, record):
    by_kind = {e.kind: [p.activation for p in e.positions] for e in record.examples}
    assert by_kind["top"] == sorted(by_kind["top"], reverse=True)
    assert by_kind["bottom"] == sorted(by_kind["bottom"])
    assert by_kind["quantile"] == sorted(by_kind["quantile"], reverse=True)
    assert by_kind["top"][0] == record.activity.maximum and by_kind["bottom"][0] == record.activity.minimum
    assert {bench.mining.first_ply <= p.ply <= bench.mining.last_ply for e in record.examples for p in e.positions} == {
        True
    }


def test_spectrum_and_counts_add_up_to_their_samples(record):
    assert sum(record.spectrum.counts) == record.spectrum.sample.positions
    best = record.patterns.best
    assert best.train.total == record.patterns.train.positions
    assert best.held_out.total == record.patterns.held_out.positions
    assert sum(record.spectrum.holds) == best.train.facts + best.held_out.facts
    assert record.patterns.train.positions + record.patterns.held_out.positions == record.spectrum.sample.positions
    assert record.patterns.train.games + record.patterns.held_out.games == record.spectrum.sample.games
    assert sum(record.by_ply.count) == record.activity.sample.positions


def test_square_shares_sum_to_one_on_every_square(record):
    s = record.square_states
    for shares in ((s.top_empty, s.top_theirs, s.top_mine), (s.base_empty, s.base_theirs, s.base_mine)):
        assert [sum(square) for square in zip(*shares, strict=True)] == pytest.approx([1.0] * 64)


def test_conditional_means_average_to_the_mean(record):
    c = record.conditional_means
    for s in range(64):
        states = ((c.empty, c.count_empty), (c.theirs, c.count_theirs), (c.mine, c.count_mine))
        total = sum((board[s] or 0.0) * n[s] for board, n in states)
        assert total / sum(n[s] for _, n in states) == pytest.approx(record.activity.mean, abs=1e-4)


def test_logit_board_is_the_neurons_direct_contribution(bench, record, unit):
    """Contribution at one position = activation x board x (mean scale / the scale there)."""
    game = bench.games[0]
    square = LABELS.index("C2")
    a = attribute(bench.model, game.inputs, logit_targets(bench.model, [square]))
    _, acts = bench.model.run(game.inputs, save=[record.activity.hook, "ln_final.hook_scale"])
    ply = 20
    scale = float(acts["ln_final.hook_scale"][0, ply, 0])
    expected = float(acts[record.activity.hook][0, ply, unit.index]) * record.writes.logits[square]
    got = float(a.neurons[unit.layer, unit.index, 0, ply, 0])
    assert got == pytest.approx(expected * record.writes.logit_scale / scale, rel=1e-4)


def test_neighbours_are_the_strongest_virtual_weights(bench, record, unit):
    up = weights.neurons_to_neuron(bench.model, unit)
    if up:
        strongest = max(float(layer.abs().max()) for layer in up)
        assert abs(record.neighbours.upstream[0].value) == pytest.approx(strongest)
    assert record.neighbours.n_upstream == unit.layer * bench.model.shape.d_mlp


def test_neighbours_come_with_the_fact_that_their_own_page_would_put_first(bench, record):
    found = [n for side in (record.neighbours.upstream, record.neighbours.downstream) for n in side]
    assert found
    for n in found[:4]:
        best = bench.gallery.score(bench.unit(n.unit), keep=1).scores[0]
        assert n.fact == FACTS[best.fact]
        both, only, on, _ = best.held_out
        assert n.fact_f1 == pytest.approx(2 * both / (2 * both + only + on) if both else 0.0)


def test_a_verdict_is_carried_into_the_record(bench, unit):
    found = verdict_of("partly causal")
    record = neuron_record(bench, unit, "asked for by name", found)
    assert record.verdict is found
    assert check_page(NeuronReport(record).html, record)


def test_checks_cover_weights_logits_and_activations(record):
    paths = [c.path for c in record.checks]
    for start in ("reads.mine", "reads.empty", "writes.mine", "writes.logits", "examples.0"):
        assert any(p.startswith(start) for p in paths), start


@pytest.mark.parametrize("start", ["reads.mine", "writes.logits", "examples.0"])
def test_a_wrong_number_stops_the_build(bench, record, start):
    path = next(p for p in sampled_paths(record) if p.startswith(start))
    truth = recompute(bench, record)
    with pytest.raises(PageError, match=path.replace(".", r"\.")):
        check_record(record, lambda p: truth(p) + (0.5 if p == path else 0.0))


def test_a_board_written_to_the_wrong_squares_stops_the_build(bench, record):
    """OthelloScope's bug: columns past the centre squares shifted."""
    values = [v for v in record.writes.logits if v is not None]
    shifted = tuple(values + [None] * 4)
    wrong = replace(record, writes=replace(record.writes, logits=shifted))
    with pytest.raises((PageError, InputError)):
        check_record(wrong, recompute(bench, wrong), [f"writes.logits.{s}" for s in range(30, 60) if s not in (35, 36)])


def test_record_is_json_and_comes_back(record):
    assert NeuronRecord.from_json(record.to_json()) == record
    json.loads(record.to_json())


def test_default_units_are_two_different_neurons_a_layer(bench):
    units = default_units(bench)
    assert [u.layer for u, _ in units] == [i for i in range(bench.model.shape.n_layers) for _ in range(2)]
    assert len({u for u, _ in units}) == len(units)
    assert [("best explained" in why, "at random" in why) for _, why in units[:2]] == [(True, False), (False, True)]


def test_site_has_a_page_and_a_record_for_each_unit_and_says_where(bench, tmp_path):
    index, record = build_site(bench, tmp_path / "site", ["L0N1", "L1N2"])
    assert index == tmp_path / "site" / "index.html" and isinstance(record, IndexRecord)
    names = {p.name for p in index.parent.iterdir()}
    assert names == {"index.html", "index.json", "L0N1.html", "L0N1.json", "L1N2.html", "L1N2.json"}
    assert "L0N1.html" in index.read_text()


def test_pages_are_small_and_ask_nothing_of_the_network(bench, unit):
    html = bench.neuron(unit).html
    assert len(html.encode()) <= 400_000
    assert "src=" not in html and "http://" not in html.replace("http://www.w3.org", "") and "https://" not in html


def test_finished_pass_is_kept_and_found_again(tiny_files, tmp_path, monkeypatch):
    open_model(tiny_files["model"], tiny_files["probe"], games=12, cache=tmp_path).mining  # noqa: B018
    (file,) = tmp_path.iterdir()
    again = open_model(tiny_files["model"], tiny_files["probe"], games=12, cache=tmp_path)
    monkeypatch.setattr("reports.workbench.mine", lambda *_, **__: pytest.fail("mined again"))
    assert torch.equal(again.mining.sums, Mining.load(file).sums)


def test_damaged_cache_is_mined_again(tiny_files, tmp_path, capsys):
    first = open_model(tiny_files["model"], tiny_files["probe"], games=12, cache=tmp_path).mining
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:1000])
    again = open_model(tiny_files["model"], tiny_files["probe"], games=12, cache=tmp_path).mining
    assert torch.equal(first.sums, again.sums)
    assert "mining again" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["L0H1", "L99N0", "L0N99999", "N3", "L0N1; rm"])
def test_units_that_cannot_be_reported_are_refused_in_one_line(bench, name):
    with pytest.raises(InputError) as error:
        bench.neuron(name)
    assert "\n" not in str(error.value)


def test_unreachable_output_folder_fails_before_any_work(bench, tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(InputError, match="cannot write"):
        build_site(bench, file / "site", ["L0N1"])


def test_best_fact_of_the_record_is_one_that_was_tried(record):
    assert record.patterns.best.name in FACTS


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ({}, "Its file does not say how this model was made."),
        ({"layout": "minGPT"}, "An Othello-GPT, read from a file in minGPT layout."),
        (
            {"games": 1200, "objective": "legal", "hardware": "2 cores"},
            "An Othello-GPT, trained on 1,200 games with the 'legal' objective on 2 cores.",
        ),
        (
            {"games": 1200, "data": "random, seed 1", "objective": "sampled: cross-entropy", "machine": "a GPU"},
            "An Othello-GPT, trained on 1,200 games (random, seed 1) with the 'sampled' objective on a GPU.",
        ),
        ({"shape of": "tiny"}, "Random weights in the shape of tiny, never trained: a baseline."),
    ],
)
def test_a_card_in_a_sentence(card, said):
    assert _how_made(card) == said
