"""Pairs of transcripts: what is refused, and what is said to differ, against the slow engine."""

import oracles
import pytest
import torch

from circuits.causes.pairs import COMPARED, KINDS, Pairs, join
from circuits.errors import InputError
from circuits.games import Games, generate
from circuits.notation import LABELS, SQUARE_TOKEN, parse_transcript


def tokens(*texts: str, width: int = 60) -> torch.Tensor:
    rows = torch.zeros(len(texts), width, dtype=torch.long)
    for row, text in zip(rows, texts, strict=True):
        moves = SQUARE_TOKEN[torch.tensor(parse_transcript(text))] if text else torch.zeros(0, dtype=torch.long)
        row[: len(moves)] = moves
    return rows


@pytest.fixture(scope="module")
def several() -> Pairs:
    """Two random games cut to one length, wherever the same side moves next in both."""
    games = generate(40, seed=3)
    a, b = games.tokens[:20].long(), games.tokens[20:].long()
    ply = 4 + torch.arange(20) * 2
    past = torch.arange(60) > ply[:, None]
    a, b = a.masked_fill(past, 0), b.masked_fill(past, 0)
    row = torch.arange(20)
    ends = [Games.of(t).boards()[row, ply] for t in (a, b)]
    same = (ends[0].black_to_move == ends[1].black_to_move) & ends[0].valid & ends[1].valid
    return Pairs.of(a[same], b[same], question="two games", game=row[same])


def slow(row: torch.Tensor) -> dict:
    return oracles.replay([oracles.SQUARE_OF_TOKEN[t] for t in row.tolist() if t])[-1]


def test_differences_are_those_that_the_slow_engine_counts(several):
    assert len(several) > 10
    names = {".": "empty"}
    for i in range(len(several)):
        clean, corrupt, told = slow(several.clean[i]), slow(several.corrupt[i]), several.difference(i)
        facts = [
            {f"{LABELS[s]} {name}" for name in COMPARED for s in oracles.literal(x, name)} for x in (clean, corrupt)
        ]
        expected = dict.fromkeys(facts[0] - facts[1], True) | dict.fromkeys(facts[1] - facts[0], False)
        assert told.literals == expected
        assert set(told.legal_clean) == set(clean["legal"]) - set(corrupt["legal"])
        assert set(told.legal_corrupt) == set(corrupt["legal"]) - set(clean["legal"])

        def state(x: dict, s: int) -> str:
            return names.get(x["board"][s], "mine" if x["board"][s] == x["side"] else "theirs")

        both = [(s, state(clean, s), state(corrupt, s)) for s in range(64)]
        assert told.squares == tuple(item for item in both if item[1] != item[2])
        a, b = several.clean[i].tolist(), several.corrupt[i].tolist()
        square = oracles.SQUARE_OF_TOKEN
        assert told.moves == tuple(
            (t, square[x], square[y]) for t, (x, y) in enumerate(zip(a, b, strict=True)) if x != y
        )
        assert several.first[i] == told.moves[0][0]
        assert several.ply[i] == sum(t != 0 for t in a) - 1
        only = [torch.tensor([s in legal for s in range(64)]) for legal in (told.legal_clean, told.legal_corrupt)]
        newly = several.newly_legal()
        assert torch.equal(newly[0][i], only[0]) and torch.equal(newly[1][i], only[1])
        differing = {s for s in range(64) if int(several.differing("flipped")[i]) >> s & 1}
        assert differing == oracles.literal(clean, "flipped") ^ oracles.literal(corrupt, "flipped")


def test_a_difference_in_words():
    pair = Pairs.of(tokens("C3 C2"), tokens("C3 E2"))
    assert str(pair.difference(0)) == (
        "moves: ply 1: C2 or E2; squares: C2 theirs or empty, D3 theirs or mine, E2 empty or theirs, "
        "E3 mine or theirs; legal only in clean: C1 D2 E5; only in corrupt: F1 F2 F3 F5"
    )


@pytest.mark.parametrize(
    ("clean", "corrupt", "message"),
    [
        ("C3 C2 C1", "C3 C2", "pair 1: the clean transcript has 3 moves, the corrupt one 2"),
        ("", "", "pair 1: both transcripts are empty"),
        ("C3 C2", "C3 A0", "pair 1, corrupt transcript: ply 1: A0 is not legal; legal there: C2 C4 E2"),
        ("C3 A0", "C3 C2", "pair 1, clean transcript: ply 1: A0 is not legal; legal there: C2 C4 E2"),
        ("C3 C2", "C3 C2", "pair 1: the clean and the corrupt transcript are the same"),
    ],
)
def test_bad_pairs_are_named(clean, corrupt, message):
    with pytest.raises(InputError) as error:
        Pairs.of(tokens("C3 C2", clean), tokens("C3 E2", corrupt))
    assert str(error.value) == message


def test_sides_that_differ_ends_and_long_games_are_refused():
    games = generate(3000, seed=5)
    boards = games.boards()
    passed, t = (boards.passed & boards.valid)[:, :50].nonzero()[0].tolist()
    plain = int((~boards.passed[:, : t + 1].any(1) & boards.valid[:, t]).nonzero()[0])
    past = torch.arange(60) > t
    with pytest.raises(
        InputError, match=r"pair 0: (black|white) moves next in the clean, (black|white) in the corrupt"
    ):
        Pairs.of(games.tokens[[passed]].masked_fill(past, 0), games.tokens[[plain]].masked_fill(past, 0))
    full = games.tokens[games.lengths == 60]
    with pytest.raises(InputError, match="pair 0: 60 moves: a model reads at most 59 \\(1 more pairs like it\\)"):
        Pairs.of(full[:2], full[2:4])
    short = games.tokens[games.lengths == 59]
    with pytest.raises(InputError, match="pair 0: nobody can move at the end of the clean transcript"):
        Pairs.of(short[:1], short[1:2])


def test_other_bad_input_is_refused():
    one = tokens("C3 C2"), tokens("C3 E2")
    with pytest.raises(InputError, match="1 clean and 2 corrupt transcripts"):
        Pairs.of(one[0], tokens("C3 E2", "C3 C4"))
    with pytest.raises(InputError, match="60 and 3 plies"):
        Pairs.of(one[0], one[1][:, :3])
    with pytest.raises(InputError, match="'typo' is no kind of pair: given, last move"):
        Pairs.of(*one, kind="typo")
    with pytest.raises(InputError, match="2 numbers of games for 1 pairs"):
        Pairs.of(*one, game=torch.arange(2))
    with pytest.raises(InputError, match="corrupt transcripts: game 0, ply 1: 61 is no token"):
        Pairs.of(one[0], one[1] + torch.tensor([0, 61 - int(one[1][0, 1])] + [0] * 58))
    with pytest.raises(InputError, match="no pairs \\(given\\)"):
        Pairs.of(*one)[torch.zeros(1, dtype=torch.bool)]
    with pytest.raises(InputError, match="no pairs to join"):
        join([])


def test_parts_swaps_and_joins(several):
    swapped = several.swapped()
    assert torch.equal(swapped.clean, several.corrupt) and torch.equal(swapped.game, several.game)
    assert torch.equal(swapped.clean_end.legal, several.corrupt_end.legal)
    assert torch.equal(several[[2, 0]].clean, several.clean[[2, 0]]) and len(several[1]) == 1
    assert torch.equal(several[-1].game, several.game[-1:]) and torch.equal(several[1:3].ply, several.ply[1:3])
    mask = several.ply > several.ply.median()
    assert torch.equal(several[mask].ply, several.ply[mask])
    both = join([several[:3], several[3:]])
    assert torch.equal(both.clean, several.clean) and both.question == "two games" and both.source == several.source
    assert several.kinds() == {"given": len(several)} and set(several.kinds()) <= set(KINDS)
    assert repr(several) == f"Pairs({len(several)}: two games)"
    # tokens of any integer type, and narrower than a whole game
    narrow = Pairs.of(several.clean[:1, :10].int(), several.corrupt[:1, :10].int())
    assert torch.equal(narrow.clean[:, :10], several.clean[:1, :10]) and narrow.clean.dtype == torch.uint8
