"""The causal section: its figures are those of the general analyses, on held-out games, and its words no stronger."""

import dataclasses

import pytest
import torch
from synthetic_record import record_of

from circuits import plain
from circuits.causes import metrics
from circuits.causes.ablation import ablate
from circuits.causes.baseline import Baseline
from circuits.causes.patching import patch
from circuits.causes.recorded_games import Paired, Positions, RecordedGames, pair_runs, rerun
from circuits.causes.senders import senders_into
from circuits.errors import InputError
from circuits.games import Address
from circuits.notation import LABELS, SQUARE_TOKEN, Unit
from circuits.patterns import FACTS
from circuits.serial import at
from reports.build import neuron_record
from reports.causes import ablation as cause_ablation
from reports.causes import controls as cause_controls
from reports.causes import words as cause_words
from reports.causes.ablation import without
from reports.causes.places import ACTIVE, MIN_POSITIONS, MostActive, idle
from reports.causes.records import Effect, Other, OwnPlaces
from reports.causes.section import causes
from reports.causes.subject import Subject
from reports.causes.upstream import upstream
from reports.checks import PageError, check_page, check_record, sampled_paths
from reports.neuron import neuron_page
from reports.recompute import recompute


@pytest.fixture(scope="module")
def unit(bench) -> Unit:
    """The neuron that one fact explains best, of those with a layer before and one behind them."""
    r2 = bench.gallery.screen(1)[0].max(1).values
    return Unit(1, "neuron", int(r2.argmax()))


@pytest.fixture(scope="module")
def record(bench, unit):
    return neuron_record(bench, unit, "asked for by name")


@pytest.fixture(scope="module")
def subject(bench, record):
    return Subject(bench, record)


@pytest.fixture(scope="module")
def pairs(subject):
    found, why = subject.pairs
    assert found is not None, why
    return found


def test_a_position_resumed_unchanged_is_the_recorded_one(tiny, games):
    recorded = RecordedGames(tiny, games, 54)
    here = Positions(torch.tensor([0, 30, 30, 7]), torch.tensor([0, 53, 5, 20]))
    for layer in range(tiny.shape.n_layers + 1):
        x = recorded.stream("pre", layer, here)
        final, changes = rerun(recorded, here, layer, torch.stack([x, x]), watch=torch.ones_like(x))
        torch.testing.assert_close(final, recorded.stream("pre", 3, here).expand(2, -1, -1), atol=1e-4, rtol=1e-4)
        assert all(float(v.abs().max()) < 1e-3 for v in changes.values())
        assert len(changes) == 2 * (tiny.shape.n_layers - layer)


def test_a_changed_position_is_what_an_edited_pass_gives(tiny, games):
    """Each position is a run of its own: the change is at its ply and nowhere earlier."""
    recorded, model = RecordedGames(tiny, games, 54), plain.of(tiny)
    here = Positions(torch.tensor([3, 3, 29]), torch.tensor([12, 40, 53]))
    push = torch.randn(3, model.shape.d_model, generator=torch.Generator().manual_seed(0))
    final, _ = rerun(recorded, here, 1, (recorded.stream("pre", 1, here) + push)[None])
    for i, (row, ply) in enumerate(here.places):

        def edit(x, hook, ply=ply, i=i):
            x[:, ply] += push[i]
            return x

        hook = "blocks.2.hook_resid_post"
        _, acts = model.run(games.inputs[[row], :54], save=[hook], edit=[("blocks.1.hook_resid_pre", edit)])
        torch.testing.assert_close(final[0, i], acts[hook][0, ply], atol=1e-4, rtol=1e-4)


def test_pairs_run_from_their_first_difference_are_the_whole_runs(subject, pairs):
    seen = []
    for run in pair_runs(subject.recorded, pairs):
        rows, end = run.window.pair, int(pairs.ply[run.window.pair].max()) + 1
        for of, tokens in ((run.clean, pairs.clean), (run.chunk.base, pairs.corrupt)):
            hook = "blocks.2.hook_resid_post"
            _, acts = subject.recorded.model.run(tokens[rows, :end].long(), save=[hook])
            whole = acts[hook][torch.arange(len(rows)), pairs.ply[rows]]
            torch.testing.assert_close(run.window.last(of.stream[-1]), whole, atol=1e-4, rtol=1e-4)
        seen += rows.tolist()
    assert sorted(seen) == list(range(len(pairs)))


def test_pairs_of_other_games_are_refused(subject, pairs):
    with pytest.raises(InputError, match="not among"):
        list(pair_runs(subject.recorded, dataclasses.replace(pairs, game=pairs.game + 10_000)))
    with pytest.raises(InputError, match="not that of recorded game"):
        list(pair_runs(subject.recorded, pairs.swapped()))


def test_everything_is_measured_on_held_out_games(bench, record, pairs):
    gallery = bench.gallery
    train = set(gallery.games.ids[gallery.row[gallery.train]].tolist())
    assert not train & set(bench.held_out.games.ids.tolist())
    assert not train & set(pairs.game.tolist())
    for example in record.causes.without.examples:
        assert Address.parse(example.address).game not in train
    assert record.causes.pairs.pairs == len(pairs) and record.causes.pairs.games == len(set(pairs.game.tolist()))


def test_positions_are_drawn_one_a_game_before_a_second(bench, record):
    gallery, places = bench.gallery, record.causes.without.places
    holds = gallery.fact(FACTS.index(record.patterns.best.name))
    for place, mask in zip(places, (holds, ~holds), strict=True):
        games = gallery.row[mask & ~gallery.train].unique()
        assert place.games == min(len(games), place.positions)


def test_ablation_is_that_of_the_general_analysis(bench, subject, record, monkeypatch):
    """`circuits.causes.ablation` on whole games, read at the positions drawn: every figure of the table."""
    w, gallery = record.causes.without, bench.gallery
    drawn, draw = [], cause_ablation.draw
    monkeypatch.setattr(cause_ablation, "draw", lambda *given: drawn.append(draw(*given)) or drawn[-1])
    assert without(subject) == w
    games = bench.held_out.games
    train = gallery.games[gallery.row[gallery.train].unique()]
    base = Baseline(bench.model, games, train)
    where = {}
    for i, positions in enumerate(drawn):
        where[w.places[i].name] = torch.zeros(len(games), 59, dtype=torch.bool)
        where[w.places[i].name][positions.row, positions.ply] = True
    found = {
        "zero": ablate(base, [record.unit], method="zero", where=where),
        "mean": ablate(base, [record.unit], method="mean", where=where),
        w.methods[0].method: ablate(
            base, [record.unit], method="conditional mean", given=f"not {record.patterns.best.name}", where=where
        ),
    }
    move = int(SQUARE_TOKEN[LABELS.index(w.square)]) - 1
    for row in w.methods:
        if row.method not in found:
            continue
        e = found[row.method].at[w.places[row.place].name]
        assert e.positions == w.places[row.place].positions
        # The stored activations, of which the mean is taken here, are fp16.
        close = {"rel": 5e-3, "abs": 5e-4}
        assert row.total.mean == pytest.approx(float(e.total.mean[move]), **close)
        assert row.total.low == pytest.approx(float(e.total.low[move]), **close)
        assert row.direct.mean == pytest.approx(float(e.direct.mean[move]), **close)
        assert row.kl.mean == pytest.approx(float(e.kl.mean), **close)
        assert row.illegal.mean == pytest.approx(float(e.illegal_mass.mean), **close)
    for place in w.places:
        board = found["mean where the fact fails"].at[place.name].total.mean.tolist()
        shown = [place.change[s] for s in range(64) if SQUARE_TOKEN[s]]
        assert shown == pytest.approx(board, abs=1e-3)


def test_later_parts_and_the_direct_effect_add_up_to_the_total(record):
    w = record.causes.without
    row, answered = w.methods[0], sum(a.effect.mean for a in w.answers)
    assert row.direct.mean + answered == pytest.approx(row.total.mean, abs=1e-4)
    assert w.undone_by_layers.mean + w.undone_by_norm.mean == pytest.approx(row.undone.mean, abs=1e-3)
    norm = next(a.effect.mean for a in w.answers if a.part == "final LayerNorm")
    assert w.undone_by_norm.mean == pytest.approx(-norm / row.direct.mean, abs=1e-4)


def test_random_neurons_are_others_of_its_layer(record, unit):
    units = record.causes.without.random_units
    assert len(set(units)) == len(units) == 20
    assert str(unit) not in units and all(name.startswith("L1N") for name in units)
    assert all(len(x.others) == 20 for x in record.causes.without.controls)


def test_other_neurons_at_their_own_places_are_ablated_there(bench, record, unit, monkeypatch):
    """By whole passes over whole games, at the positions where each is itself most active."""
    w, gallery, model = record.causes.without, bench.gallery, bench.model
    own = w.own_places
    names = [o.unit for o in own.others]
    assert len(set(names)) == len(names) == 20 and str(unit) not in names
    plain_mean = next(m for m in w.methods if m.method == "mean" and m.place == 0)
    assert own.value == pytest.approx(plain_mean.total.mean, abs=1e-6)
    for other in own.others[:3]:
        index = int(other.unit.split("N")[1])
        acts = gallery.activations(Unit(1, "neuron", index))
        written = model.W_out(1)[index] @ model.W_U[:, 1:]
        assert int((written - written.mean()).abs().argmax()) == int(SQUARE_TOKEN[LABELS.index(other.square)]) - 1
        high = MostActive.of(acts, gallery.train).high & ~gallery.train
        at = cause_controls.draw(bench, high, bench.seed + index, cause_controls.EACH)
        assert len(at) == other.positions
        move, mean, changes = int(SQUARE_TOKEN[LABELS.index(other.square)]), acts[gallery.train].mean(), []
        for row, ply in at.places:

            def edit(x, hook, ply=ply, index=index, mean=mean):
                x[:, ply, index] = mean
                return x

            inputs = bench.held_out.games[torch.tensor([row])].inputs
            was, now = (
                model.run(inputs, edit=e)[0][0, ply, 1:].double() for e in ([], [("blocks.1.mlp.hook_post", edit)])
            )
            changes.append(float((now - now.mean() - was + was.mean())[move - 1]))
        assert other.effect == pytest.approx(sum(changes) / len(changes), rel=5e-3, abs=5e-4)


def test_pages_of_a_layer_share_the_other_neurons(bench, record, monkeypatch):
    monkeypatch.setattr(cause_controls, "_measured", lambda *given: pytest.fail("measured again"))
    shown = {o.unit for o in record.causes.without.own_places.others}
    second = cause_controls.at_own_places(bench, Unit(1, "neuron", int(min(shown)[3:])), 0.1)
    assert min(shown) not in {o.unit for o in second.others} and len(second.others) == 20


def test_ties_do_not_make_a_rare_neuron_most_active_everywhere():
    acts = torch.full((2000,), -0.1)
    acts[::2] = -0.0  # a tail that underflows at half of the positions
    acts[:60:2] = 2.0
    acts[1000:1020] = 3.0
    train = torch.arange(2000) < 1000
    found = MostActive.of(acts, train)
    assert found.limit == 0 and found.share == 0.03 <= ACTIVE
    assert found.high.sum() == 50
    smooth = MostActive.of(torch.arange(2000.0), train)
    assert smooth.share == ACTIVE and smooth.limit == 949
    assert MostActive.of(acts, acts < 1).share == 0  # all its highest are equal


def without_fact(bench, record, acts, monkeypatch):
    bare = dataclasses.replace(record, patterns=dataclasses.replace(record.patterns, fits=()), causes=None)
    subject = Subject(bench, bare)
    monkeypatch.setattr(Subject, "activations", acts)
    return bare, subject


def test_the_share_printed_is_the_one_reached(bench, record, monkeypatch):
    train = bench.gallery.train
    acts = torch.full((len(train),), -0.1)
    acts[::2] = -0.0
    acts[::40] = 1.0
    _, subject = without_fact(bench, record, acts, monkeypatch)
    w = without(subject)
    share = float((acts[train] > 0).double().mean())
    assert w.places[0].words == f"where its activation is above 0, as at {100 * share:.1f} % of training positions"


def test_a_neuron_hardly_ever_active_or_constant_is_said_to_be(bench, record, monkeypatch):
    train = bench.gallery.train
    acts = torch.full((len(train),), -0.0)
    bare, subject = without_fact(bench, record, acts, monkeypatch)
    assert "Its activation is 0 at all" in idle(subject)
    for n, few in ((MIN_POSITIONS - 1, True), (MIN_POSITIONS, False)):
        acts[train.nonzero()[:10]] = 1.0
        acts[(~train).nonzero()[:n]] = 1.0
        assert (idle(subject) is not None) == few
        if few:
            assert f"and at {n} of" in idle(subject) and "Hardly ever active" in idle(subject)
            found = causes(bench, bare)
            assert found.without is found.upstream is found.downstream is None
            quiet = dataclasses.replace(bare, causes=found)
            html = neuron_page(quiet)
            assert "Hardly ever active" in html and "Without it" not in html
            assert check_page(html, quiet) and recompute(bench, quiet)
            assert not [path for path in sampled_paths(quiet) if path.startswith("causes")]


def test_senders_are_those_of_the_general_analysis(bench, subject, record, pairs):
    up = upstream(subject, Paired.of(subject.recorded, pairs))
    assert up == record.causes.upstream
    truth = senders_into(bench.model, pairs, record.unit)
    names, means = list(map(str, truth.nodes)), truth.recomputed.mean(1)
    assert up.n_senders == len(names)
    assert up.total.mean == pytest.approx(float(truth.total.mean()), abs=1e-4)
    assert up.frozen.mean == pytest.approx(float(truth.sum.mean()), abs=1e-4)
    assert sum(part.effect.mean for part in up.layers) == pytest.approx(up.frozen.mean, abs=1e-3)
    sure = truth.summary.p_family <= up.alpha
    assert (up.n_on, up.n_off) == (int((sure & (means > 0)).sum()), int((sure & (means < 0)).sum()))
    assert up.on or up.off
    for side, sign in ((up.on, 1), (up.off, -1)):
        for sender in side:
            i = names.index(sender.unit)
            assert sender.direct.mean == pytest.approx(float(means[i]), abs=1e-4)
            assert sender.direct.low == pytest.approx(
                float(truth.summary.low[i]), abs=0.02 + 0.1 * abs(float(means[i]))
            )
            assert sender.direct.mean * sign > 0
        assert [abs(s.direct.mean) for s in side] == sorted((abs(s.direct.mean) for s in side), reverse=True)


def test_a_sender_by_all_paths_is_patching_it(bench, record, pairs):
    model, layer, n = plain.of(bench.model), record.layer, record.index
    W, b = model.W_in(layer)[:, n], model.b_in(layer)[n]

    def pre(x, pair):
        return torch.nn.functional.layer_norm(x, x.shape[-1:], eps=model.shape.eps) @ W + b

    metric = metrics.Metric("pre-activation", f"blocks.{layer}.hook_resid_mid", pre)
    tested = [s for s in (*record.causes.upstream.on, *record.causes.upstream.off) if s.total]
    assert tested
    for sender in tested:
        truth = patch(model, pairs, metric, [sender.unit], direction="clean → corrupt")
        assert sender.total.mean == pytest.approx(float(truth.effects.mean()), abs=1e-3)


def test_the_neuron_alone_is_patched_as_in_the_general_analysis(bench, record, pairs):
    d = record.causes.downstream
    differ = pairs[pairs.legal_differs]
    asked = {f"{d.square}’s logit": (pairs, metrics.logit(d.square))}
    asked["newly legal moves’ logits"] = (differ, metrics.newly_legal(differ))
    assert len(d.alone) == 4
    for row in d.alone:
        some, metric = asked[row.figure]
        for name, effect in ((record.unit, row.effect), (f"L{record.layer} MLP", None)):
            truth = patch(bench.model, some, metric, [name], direction=row.direction)
            share = float(truth.share()[0, 0])
            if effect is not None:
                assert effect.mean == pytest.approx(float(truth.effects.mean()), abs=1e-3)
                assert row.share is None or row.share.mean == pytest.approx(share, abs=1e-3)
            else:
                assert row.layer is None or row.layer.mean == pytest.approx(share, abs=1e-3)
        assert row.pairs == len(some)


def test_later_units_change_as_an_edited_pass_says(bench, record, pairs):
    d, model = record.causes.downstream, plain.of(bench.model)
    own, end = f"blocks.{record.layer}.mlp.hook_post", int(pairs.ply.max()) + 1
    clean, corrupt = (t[:, :end].long() for t in (pairs.clean, pairs.corrupt))
    _, source = model.run(clean, save=[own])

    def edit(x, hook):
        x[:, :, record.index] = source[own][:, :, record.index]
        return x

    neurons = [r for r in d.readers if r.activation is not None]
    point, row = d.hook, torch.arange(len(pairs))
    hooks = [f"blocks.{layer}.mlp.hook_post" for layer in range(record.layer + 1, model.shape.n_layers)]
    runs = [model.run(corrupt, save=[*hooks, point], edit=e)[1] for e in ((), [(own, edit)])]
    for reader in neurons:
        layer, index = map(int, reader.unit[1:].split("N"))
        before, after = (r[f"blocks.{layer}.mlp.hook_post"][row, pairs.ply, index] for r in runs)
        assert reader.activation.mean == pytest.approx(float((after - before).mean()), abs=1e-3)
    weight = bench.probes["board", point].weight
    change = (runs[1][point] - runs[0][point])[row, pairs.ply].mean(0)
    mine = change @ (weight[:, :, 2] - weight[:, :, 1])
    assert d.mine == pytest.approx(mine.tolist(), abs=1e-3)


def test_a_neuron_without_a_fact_is_ablated_all_the_same(bench, record):
    bare = dataclasses.replace(record, patterns=dataclasses.replace(record.patterns, fits=()), causes=None)
    found = causes(bench, bare)
    assert found.pairs is found.upstream is found.downstream is None
    assert "no single fact" in found.no_pairs
    assert [p.name for p in found.without.places] == ["most active", "elsewhere"]
    assert found.without.fact is None
    html = neuron_page(dataclasses.replace(bare, causes=found))
    assert "Not compared between counterfactual games: it follows no single fact" in html
    assert "Without it (set to its mean)" in html


def test_too_few_counterfactuals_are_said_to_be(bench, record, monkeypatch):
    monkeypatch.setattr("reports.causes.subject.MIN_PAIRS", 1000)
    found = causes(bench, dataclasses.replace(record, causes=None))
    assert found.upstream is None
    assert "at least 1000 are asked for" in found.no_pairs


@pytest.mark.parametrize(
    "path", ["causes.without.examples.0.change", "causes.without.methods.0.value", "causes.upstream.example.frozen"]
)
def test_a_wrong_causal_number_stops_the_build(bench, record, path):
    truth = recompute(bench, record)
    assert path in [cell.path for cell in record.checks]
    assert truth(path) == pytest.approx(at(record, path), rel=1e-3, abs=1e-4)
    with pytest.raises(PageError, match=path.replace(".", r"\.")):
        check_record(record, lambda p: truth(p) + (0.01 if p == path else 0.0))


def test_the_real_page_passes_its_check_and_stays_small(record):
    html = neuron_page(record)
    assert len(html.encode()) <= 400_000
    assert check_page(html, record)


def test_a_board_of_another_ablation_is_caught():
    record = record_of("match")
    w = record.causes.without
    first = dataclasses.replace(w.places[0], change=w.places[1].change)
    wrong = dataclasses.replace(w, places=(first, *w.places[1:]))
    html = neuron_page(dataclasses.replace(record, causes=dataclasses.replace(record.causes, without=wrong)))
    with pytest.raises(PageError, match=r"causes\.without\.places\.0\.change"):
        check_page(html, record)


def with_total(record, mean, low, high):
    w = record.causes.without
    row = dataclasses.replace(w.methods[0], total=Effect(mean, low, high))
    return dataclasses.replace(w, methods=(row, *w.methods[1:]))


def test_an_effect_is_called_one_only_where_its_interval_excludes_zero():
    record = record_of("match")
    assert "C0’s logit falls by 0.90 [0.80, 1.00] where C0" in cause_words.without(record.causes.without)
    unsure = cause_words.without(with_total(record, -0.2, -0.5, 0.1))
    assert "C0’s logit does not change measurably where C0" in unsure and "falls" not in unsure
    assert "rises by 0.20 [0.10, 0.30]" in cause_words.without(with_total(record, 0.2, 0.1, 0.3))
    assert "less than 0.0001 either way" in cause_words.without(with_total(record, 1e-6, -1e-6, 1e-6))
    one_game = cause_words.without(with_total(record, 0.2, None, None))
    assert "does not change measurably" in one_game and "one game: no interval" in one_game


def test_an_unsure_effect_is_compared_with_nothing():
    record = record_of("match")
    assert "than 13 of 20 other neurons" in cause_words.without(record.causes.without)
    assert "neurons" not in cause_words.without(with_total(record, -0.2, -0.5, 0.1))


def others(value, *effects):
    return OwnPlaces(value, [Other(f"L5N{i}", "C0", 20, e) for i, e in enumerate(effects)])


def test_other_neurons_are_counted_as_they_are():
    assert "a larger effect than any of 3 other" in cause_words.beside(others(-1.0, 0.5, -0.2, 0.1))
    some = cause_words.beside(others(0.3, 0.5, -0.2, 0.1))
    assert "a larger effect than 2 of 3 other" in some and "(median 0.2, at most 0.5)" in some
    assert "a smaller effect than each of 2" in cause_words.beside(others(-0.1, 0.5, -0.2))
    assert "no other neuron" in cause_words.beside(others(-0.1))


def test_the_control_at_the_neurons_own_places_is_said_to_be_loaded():
    record = record_of("match")
    html = neuron_page(record)
    assert "at the positions and square chosen for this one" in html and "at positions and moves of their own" in html
    assert "positions and square are this neuron’s choice" in cause_words.captions(record.causes)["methods"]


def test_the_most_changed_move_is_named_only_where_it_is_no_chance_among_60():
    w = record_of("match").causes.without
    assert "No other move’s logit changes more there." in cause_words.without(w)
    s = LABELS.index("F3")

    def elsewhere(low, p):
        place = w.places[0]
        boards = {"change": (-2.0,), "low": (low,), "high": (-1.0 if low < -2 else 0.1,), "p": (p,)}
        cells = {k: (*getattr(place, k)[:s], *v, *getattr(place, k)[s + 1 :]) for k, v in boards.items()}
        return dataclasses.replace(w, places=(dataclasses.replace(place, **cells), *w.places[1:]))

    assert "Of the 60 moves’ logits F3’s changes most there (−2.0 [" in cause_words.without(elsewhere(-3.0, 0.01))
    assert "p = 0.01, corrected for the 60" in cause_words.without(elsewhere(-3.0, 0.01))
    for chance in (elsewhere(-3.0, 0.06), elsewhere(-1.9, 0.01)):
        assert "there" not in cause_words.without(chance).split("elsewhere")[-1]


def test_the_null_of_the_test_is_said_once(record):
    assert "symmetric about zero" in cause_words.captions(record.causes)["boards"]
    assert sum("symmetric" in text for text in cause_words.captions(record.causes).values()) == 1


def with_row(w, **changes):
    return dataclasses.replace(w, methods=(dataclasses.replace(w.methods[0], **changes), *w.methods[1:]))


def test_what_comes_after_it_is_said_with_its_sign_and_the_layer_norm_apart():
    w = record_of("match").causes.without
    text = cause_words.undone(w)
    assert "what comes after it undoes 33 % [23 %, 43 %] (later layers 36 %" in text
    assert "the final LayerNorm −3 % [−13 %, 7 %])" in text
    assert "the L6 MLP’s own contribution moves most the other way (+0.40" in text
    assert "later layers undo" not in text and "against" not in text
    ends = {"undone_by_layers": Effect(-0.4, -0.5, -0.3), "undone_by_norm": Effect(-0.1, -0.2, 0.1)}
    added = dataclasses.replace(with_row(w, undone=Effect(-0.5, -0.6, -0.4)), **ends)
    text = cause_words.undone(added)
    assert "adds 50 % [40 %, 60 %] (later layers 40 % [30 %, 50 %], the final LayerNorm 10 % [−10 %, 20 %])" in text
    assert "other way" not in text
    helper = dataclasses.replace(w.answers[0], part="L7 MLP", effect=Effect(-0.3, -0.4, -0.2, 0.001))
    text = cause_words.undone(dataclasses.replace(added, answers=(*w.answers, helper)))
    assert "the L7 MLP’s own contribution moves most the same way (−0.30" in text
    norm = dataclasses.replace(w.answers[1], effect=Effect(0.6, 0.5, 0.7, 0.001))
    assert "LayerNorm’s own" not in cause_words.undone(dataclasses.replace(w, answers=(w.answers[0], norm)))
    text = cause_words.undone(with_row(w, undone=Effect(0.1, -0.6, 0.4)))
    assert "cannot be told (undone: 10 % [−60 %, 40 %]; later layers 36 %" in text
    assert "could be zero" in cause_words.undone(with_row(w, undone=None))
    assert "next to nothing" in cause_words.undone(with_row(w, direct=Effect(-0.001, -0.002, -0.0005)))


def test_a_share_against_the_difference_is_said_to_be():
    d = record_of("match").causes.downstream
    assert "against it" not in cause_words.downstream(d)
    row = dataclasses.replace(d.alone[0], share=Effect(-0.07, -0.08, -0.06))
    assert "against it" in cause_words.downstream(dataclasses.replace(d, alone=(row, *d.alone[1:])))


def test_effects_name_the_place_that_they_are_of():
    w = record_of("match").causes.without
    with pytest.raises(InputError, match="place 7"):
        dataclasses.replace(w, methods=(dataclasses.replace(w.methods[0], place=7),))
