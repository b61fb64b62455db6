"""Records survive JSON unchanged and refuse what is not whole; headlines say what their numbers allow."""

import dataclasses
import itertools
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_score, recall_score
from synthetic_record import WIDTH, record_of, synthetic_index

from circuits.errors import InputError
from circuits.serial import at
from reports import headline as h
from reports import words
from reports.fit_records import Counts, Sample
from reports.index_records import IndexRecord
from reports.records import CheckedCell, NeuronRecord, Reads, Share, Spectrum

KINDS = ("match", "partly", "none", "dead")


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_comes_back_from_json_equal(kind):
    record = record_of(kind)
    assert NeuronRecord.from_json(record.to_json()) == record
    assert NeuronRecord.from_json(record.to_json(indent=1)) == record


def test_an_index_comes_back_from_json_equal():
    index = synthetic_index([record_of(kind) for kind in KINDS])
    assert IndexRecord.from_json(index.to_json()) == index


@given(st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 3))
def test_every_float_survives_in_full(values):
    cell = CheckedCell("writes.logits.16", *values)
    assert CheckedCell.from_json(cell.to_json()) == cell


def test_arrays_lists_and_numpy_numbers_become_plain():
    boards = [np.linspace(-1, 1, 64), list(np.linspace(-1, 1, 64)), None, (0.5,) * 64]
    reads = Reads("hook", np.float32(1.5), 0, *boards, Share(0.5, "s", np.int64(3), 6))
    assert reads.mine == reads.empty
    assert isinstance(reads.mine, tuple)
    assert type(reads.bias) is float
    assert type(reads.share.rank) is int
    json.dumps(reads.to_dict())


def broken(change):
    data = json.loads(record_of("match").to_json())
    change(data)
    return json.dumps(data)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda d: d.update(extra=1), "unknown field 'extra'"),
        (lambda d: d["reads"].update(more=1), "NeuronRecord.reads: unknown field 'more'"),
        (lambda d: d["writes"].pop("logits"), "NeuronRecord.writes: the field 'logits' is missing"),
        (lambda d: d["examples"][1]["positions"][2].pop("ply"), "examples.1.positions.2: the field 'ply'"),
        (lambda d: d.update(version=1), "version 1"),
        (lambda d: d.pop("version"), "version None"),
        (lambda d: d["reads"]["mine"].pop(), "63 entries, expected 64"),
        (lambda d: d["reads"]["mine"].__setitem__(5, "x"), "mine.5"),
        (lambda d: d["activity"].update(mean=float("nan")), "finite"),
        (lambda d: d["activity"].update(mean=True), "finite number"),
        (lambda d: d["provenance"].update(seed=0.5), "whole number"),
        (lambda d: d["activity"]["sample"].update(split="test"), "'train'"),
        (lambda d: d.update(unit="L4N12"), "L4N12"),
        (lambda d: d.update(unit="L5H12"), "L5H12"),
        (lambda d: d["examples"][0]["positions"][0].update(last="I9"), "I9"),
        (lambda d: d["spectrum"]["counts"].pop(), "bins"),
        (lambda d: d["by_ply"]["mean"].pop(), "ByPly"),
    ],
)
def test_what_is_not_whole_is_refused_in_one_line_that_names_it(change, named):
    with pytest.raises(InputError) as error:
        NeuronRecord.from_json(broken(change))
    assert named in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3"])
def test_what_is_no_record_is_refused(text):
    with pytest.raises(InputError):
        NeuronRecord.from_json(text)


def test_a_bin_cannot_hold_the_fact_more_often_than_it_has_positions():
    with pytest.raises(InputError, match="more often"):
        Spectrum((0, 1), (3,), (4,), "f", None, Sample("all", 1, 3))


def test_paths_reach_every_kind_of_field():
    record = record_of("match")
    assert at(record, "writes.logits.16") == record.writes.logits[16]
    assert at(record, "examples.0.positions.1.activation") == record.examples[0].positions[1].activation
    assert at(record, "patterns.fits.0.held_out.f1") == record.patterns.best.held_out.f1
    assert at(record, "provenance.versions.torch") == record.provenance.versions["torch"]
    for wrong in ("writes.nothing", "writes.logits.64", "writes.logits.x", "provenance.versions.numpy"):
        with pytest.raises(InputError, match=re.escape(wrong)):
            at(record, wrong)


@given(st.tuples(*[st.integers(0, 30)] * 4).filter(any))
def test_scores_equal_scikit_learns(cells):
    fact = np.repeat([1, 1, 0, 0], cells)
    on = np.repeat([1, 0, 1, 0], cells)
    counts = Counts(*cells)
    assert counts.precision == pytest.approx(precision_score(fact, on, zero_division=0))
    assert counts.recall == pytest.approx(recall_score(fact, on, zero_division=0))
    assert counts.f1 == pytest.approx(f1_score(fact, on, zero_division=0))
    assert counts.chance_f1 == pytest.approx(f1_score(fact, np.ones_like(fact), zero_division=0))


def with_fit(share_positive=0.1, **changes):
    """The matching record with its best fit changed; the interval follows F1 unless given."""
    record = record_of("match")
    fit = dataclasses.replace(record.patterns.best, **changes)
    if "f1_low" not in changes:
        fit = dataclasses.replace(fit, f1_low=max(0.0, fit.held_out.f1 - 0.02), f1_high=1.0)
    patterns = dataclasses.replace(record.patterns, fits=(fit,))
    activity = dataclasses.replace(record.activity, share_positive=share_positive)
    return dataclasses.replace(record, patterns=patterns, activity=activity)


def grade(**changes):
    return h.headline(with_fit(**changes)).grade


def test_grades_turn_at_their_stated_thresholds():
    assert grade(held_out=Counts(80, 20, 20, 9880)) == h.MATCHES  # precision and recall exactly 0.8
    assert grade(held_out=Counts(80, 20, 21, 9879)) == h.PARTLY
    assert grade(held_out=Counts(80, 21, 20, 9879)) == h.PARTLY
    assert grade(held_out=Counts(42, 58, 58, 9842)) == h.PARTLY  # skill just above 0.4 …
    assert grade(held_out=Counts(41, 59, 59, 9841)) == h.NONE  # … and just below
    # A fact that mostly holds: precision and recall of 0.8 are no feat there.
    assert grade(held_out=Counts(6400, 1600, 1600, 400), f1_low=0.95, f1_high=1.0) == h.NONE
    assert grade(held_out=Counts(10, 0, 0, 9990)) == h.MATCHES  # ten cases are enough, nine are not
    assert grade(held_out=Counts(9, 0, 0, 9991)) == h.NONE


def test_a_fit_must_beat_both_controls_with_its_whole_interval():
    good = Counts(80, 20, 20, 9880)
    assert grade(held_out=good, shuffled_f1=0.5, f1_low=0.5, f1_high=0.9) == h.NONE
    assert grade(held_out=good, shuffled_f1=0.5, f1_low=0.501, f1_high=0.9) == h.MATCHES
    always = Counts(900, 0, 100, 0)  # a fact that nearly always holds, a neuron that is always on
    assert grade(held_out=always, f1_low=always.chance_f1, f1_high=1.0) == h.NONE


def test_a_rare_unit_is_called_rare_unless_a_pattern_accounts_for_it():
    nothing = Counts(0, 100, 0, 9900)
    assert grade(held_out=nothing, share_positive=0.001) == h.NONE
    assert grade(held_out=nothing, share_positive=0.00099) == h.RARE
    assert grade(held_out=Counts(80, 20, 20, 9880), share_positive=0.0005) == h.MATCHES
    assert "1 of 2,000" in h.headline(with_fit(held_out=nothing, share_positive=0.0005)).sentence
    assert "Never fires" in h.headline(with_fit(held_out=nothing, share_positive=0.0)).sentence


def test_sentences_carry_their_numbers():
    match = h.headline(with_fit(held_out=Counts(93, 22, 7, 9878)))
    assert match.sentence.startswith("Fires mostly when C0 can be taken by flipping D1 along the diagonal C0–E2")
    assert "precision 0.93, recall 0.81" in match.sentence
    none = h.headline(record_of("none"))
    fit = record_of("none").patterns.best
    assert none.sentence.startswith("None of the 960 facts frequent enough here to try explains this neuron")
    assert f"F1 of {fit.held_out.f1:.2f} (always on: {fit.held_out.chance_f1:.2f})" in none.sentence


def test_a_neuron_without_any_pattern_still_has_a_headline():
    record = record_of("match")
    bare = dataclasses.replace(record, patterns=dataclasses.replace(record.patterns, fits=()))
    assert h.headline(bare).grade == h.NONE
    assert "No fact was tried" in h.headline(bare).sentence


CAUSAL = r"caus|because|makes|drive|detect|comput|raise|boost|leads to|controls? |decid|needed|responsible"


@given(st.tuples(*[st.integers(0, 200)] * 4), st.sampled_from([0.0, 0.0004, 0.2]), st.floats(0, 1))
def test_no_headline_claims_a_cause(cells, share, low):
    counts = Counts(*cells)
    head = h.headline(with_fit(held_out=counts, share_positive=share, f1_low=low, f1_high=1.0))
    assert not re.search(CAUSAL, head.sentence, re.IGNORECASE)
    assert head.grade in h.GRADES
    assert head.sentence.endswith(".")


def test_literals_have_words_too():
    for name, direction in itertools.product(h.LITERAL_WORDS, [None]):
        fit = dataclasses.replace(record_of("match").patterns.best, literal=name, direction=direction, squares=("C0",))
        assert h.what(fit).startswith("C0 ")


def test_a_move_stands_out_only_when_far_from_the_rest():
    flat = tuple(None if s in (27, 28, 35, 36) else (-1.0) ** s for s in range(64))
    assert h.standing_out(flat) is None
    assert h.standing_out((0.0,) * 64) is None
    spike = tuple(9.0 if s == 16 else v for s, v in enumerate(flat))
    assert h.standing_out(spike)[:2] == ("C0", 9.0)
    assert h.standing_out(tuple(None if v is None else -v for v in spike))[:2] == ("C0", -9.0)


@pytest.mark.parametrize(("n", "d"), [(64, 256), (124, 256), (124, 64)])
def test_the_largest_cosine_of_random_vectors_is_as_stated(n, d):
    """Against 4,000 random vectors and n fixed orthonormal or random directions."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((4000, d))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    fixed = rng.standard_normal((n, d))
    fixed /= np.linalg.norm(fixed, axis=1, keepdims=True)
    under = (abs(vectors @ fixed.T).max(1) < h.random_largest(n, d)).mean()
    assert 0.94 <= under <= 0.985


def test_a_weight_that_is_random_is_not_said_to_point_anywhere():
    assert words.reads(record_of("none").reads, WIDTH).startswith("No square stands out")
    assert "D1 theirs" in words.reads(record_of("match").reads, WIDTH)
