"""Python that makes no rule: one clear line each, with what to write instead."""

import json
import subprocess
import sys

import pytest
import torch

from circuits.errors import InputError
from circuits.rules import Not, Rule, as_claim, conjunction, disjunction, ply, sq

#: what the checks of types refuse first while tests run, so asked of a Python without them
UNCHECKED = {
    "Count(['ply'])": "nothing counts",
    "Line('legal C0 via SE x1')": "sq.C0.via(",
    "ToMove('white')": "False for white",
    "Claim(sq.C0.empty, [+sq.C0])": "(a & b) >> effects",
    "Claim(sq.C0)": "sq.C0.empty",
    "Claim(CLAIM)": "(a & b) >> [",
    "Claim(None)": "None is no rule",
} | {
    what.format(n): "give a whole number"
    for n in ("2.5", "3.0", "True", "'3'", "None", "torch.tensor(3.0)")
    for what in (
        "Count('ply', {})", "Count('ply', 3, {})", "Count('ply', 3, 4, {})", "Literal({}, 'mine')",
        "Literal(16, 'mine', {})", "Line(Pattern(16, 'SE', 1), {})", "Line(Pattern(16, 'SE', {}))",
        "Line(Pattern({}, 'SE', 1))", "ToMove(True, {})", "Passed({})", "Effect('logit', 1, {})",
        "Effect('logit', {}, 16)", "sq.C0.via('SE', {})", "sq.C0.empty @ {}", "ply >= {}", "ply > {}", "ply <= {}",
        "ply < {}", "ply == {}", "ply != {}", "ply.between(0, {})", "ply.between({}, 64)",
    )
}  # fmt: skip


def test_parts_made_by_hand_are_checked_and_only_whole_numbers_are_numbers():
    script = """
import json, sys, torch
from circuits.features import Pattern
from circuits.rules import *
CLAIM = sq.C0.empty >> sq.B4.theirs
said = {}
for text in json.load(sys.stdin):
    try:
        said[text] = ["nothing", repr(eval(text))]
    except Exception as error:
        said[text] = [type(error).__name__, str(error)]
print(json.dumps(said))
"""
    ran = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(list(UNCHECKED)), text=True, capture_output=True
    )
    assert ran.returncode == 0, ran.stderr
    answers = json.loads(ran.stdout)
    assert answers.keys() == UNCHECKED.keys()
    for text, (kind, message) in answers.items():
        assert kind == "InputError" and UNCHECKED[text] in message and "\n" not in message, (text, kind, message)


A, B = sq.C0.empty, sq.D1.mine
CLAIM = A >> sq.B4.theirs
RANGE, BRACKETS, COMPARE, NAME = "ply.between(10, 20)", "(a & b) >> [", "compare it: ply >= 3", "sq.C0.empty"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ply & A, COMPARE),
        (lambda: A & ply, COMPARE),
        (lambda: A | ply, COMPARE),
        (lambda: ~ply, COMPARE),
        (lambda: ply and A, COMPARE),
        (lambda: ply @ -1, COMPARE),
        (lambda: ply >> sq.B4.theirs, COMPARE),
        (lambda: A & ply >= 3, COMPARE),
        (lambda: sq.C0 & B, NAME),
        (lambda: B & sq.C0, NAME),
        (lambda: sq.C0 | sq.D1, NAME),
        (lambda: ~sq.C0, NAME),
        (lambda: sq.C0 and B, NAME),
        (lambda: sq.C0 @ -1, NAME),
        (lambda: sq.C0 >> +sq.C0, NAME),
        (lambda: sq & A, NAME),
        (lambda: A & sq, NAME),
        (lambda: conjunction([A, ply]), COMPARE),
        (lambda: disjunction([sq.C0, A]), NAME),
        (lambda: Not(ply), COMPARE),
        (lambda: 10 <= ply <= 20, RANGE),
        (lambda: 10 < ply < 20, RANGE),
        (lambda: (ply >= 10) and A, RANGE),
        (lambda: A & 3, "in brackets, (ply >= 10)"),
        (lambda: ply >= 10 & A, "in brackets, (ply >= 10)"),
        (lambda: A & (A == B), "False is no rule: =="),
        (lambda: (A == B) | A, "False is no rule: =="),
        (lambda: A & "D1 mine", "parse_rule"),
        (lambda: "D1 mine" & A, "parse_rule"),
        (lambda: "D1 mine" >> A, "parse_rule"),
        (lambda: A & None, "None is no rule: write sq.C0.empty"),
        (lambda: A & torch.tensor([[1, 2], [3, 4]]), "is no rule"),
        (lambda: A & +sq.C0, "+C0 is what a unit writes"),
        (lambda: (A & B) @ -1, "(sq.C0.empty @ -1)"),
        (lambda: ~A @ -1, "~(sq.D1.mine @ -1)"),
        (lambda: CLAIM & B, BRACKETS),
        (lambda: A >> sq.B4.theirs & B, "whole rule"),
        (lambda: CLAIM | B, BRACKETS),
        (lambda: CLAIM & CLAIM, BRACKETS),
        (lambda: ~CLAIM, BRACKETS),
        (lambda: CLAIM and B, BRACKETS),
        (lambda: CLAIM >> +sq.C0, "all effects in one list"),
        (lambda: conjunction([A, CLAIM]), BRACKETS),
        (lambda: 3 & CLAIM, "(ply >= 10)"),
        (lambda: ply | CLAIM, COMPARE),
    ],
)  # fmt: skip
def test_what_combines_to_no_rule_says_what_to_write(make, said):
    with pytest.raises(TypeError) as error:
        make()
    assert type(error.value) is TypeError, "an error of this language, not of the checks while tests run"
    assert said in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 200


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (A == B, "False is no rule: =="),
        (ply, COMPARE),
        (sq.C0, NAME),
        (sq, NAME),
        (None, "None is no rule: write sq.C0.empty"),
        (3, "3 is no rule"),
        (2.5, "2.5 is no rule"),
        ([A, B], "is no rule: write sq.C0.empty"),
        (torch.zeros(3, 3), "is no rule"),
        (+sq.C0, "+C0 is what a unit writes"),
        (Rule, "is no rule"),
        ("C0 emtpy", "column 4: 'emtpy' is no fact on a square"),
        ("", "the text is empty"),
    ],
    ids=repr,
)
def test_what_is_no_claim_is_refused_in_one_line(given, said):
    with pytest.raises(InputError) as error:
        as_claim(given)
    assert said in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 250
