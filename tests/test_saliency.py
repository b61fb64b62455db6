"""Latent saliency maps: values are single edits, the rules' squares a slow engine's, planted maps are scored right."""

from dataclasses import replace

import pytest
import torch
from oracles import BLACK, EMPTY, WHITE, flanked, legal

import probes
from circuits import plain
from circuits.editing.board_edits import EditCases
from circuits.editing.interventions import Editor, Method
from circuits.editing.saliency import saliency, score_maps
from circuits.errors import InputError
from circuits.games import generate
from circuits.notation import SQUARE_TOKEN

METHOD = Method("absolute", 5.0, (0, 1))
DIRECTIONS = ("N", "NE", "E", "SE", "S", "SW", "W", "NW")


@pytest.fixture(scope="module")
def editor(tiny, tiny_files):
    return Editor(plain.of(tiny), probes.load(tiny, tiny_files["probe"]).board_readers())


@pytest.fixture(scope="module")
def positions():
    return generate(10, seed=12).tokens, torch.tensor([5, 9, 14, 20, 26, 31, 37, 42, 47, 30])


@pytest.fixture(scope="module")
def maps(editor, positions):
    return saliency(editor, *positions, METHOD)


def test_values_are_single_edits(editor, positions, maps):
    tokens, ply = positions
    for i in range(0, len(maps), 7):
        at = int(maps.position[i])
        game = tokens[at, : int(ply[at]) + 1]
        for square in (~torch.isnan(maps.effect[i])).nonzero()[::5, 0].tolist():
            try:
                case = EditCases.given(game, [(square, "flip")])
            except InputError:  # the flipped board leaves no move: its value is there all the same
                continue
            edited = editor.run(case, METHOD)
            moves = torch.stack([edited.before[0, 1:], edited.after[0, 1:]])
            moves = moves - moves.mean(-1, keepdim=True)
            change = (moves[1] - moves[0])[int(SQUARE_TOKEN[maps.move[i]]) - 1]
            torch.testing.assert_close(maps.effect[i, square], change, atol=1e-4, rtol=1e-4)


def test_the_rules_squares_are_the_slow_engines(positions, maps):
    for i in range(0, len(maps), 3):
        board = maps.boards[int(maps.position[i])]
        state = [
            BLACK if int(board.mine) >> s & 1 else WHITE if int(board.theirs) >> s & 1 else EMPTY for s in range(64)
        ]  # the mover as black
        move = int(maps.move[i])
        lines = set()
        for direction in DIRECTIONS:
            run = flanked(state, BLACK, move, direction)
            if run:
                end = run[-1] + (run[-1] - (run[-2] if len(run) > 1 else move))
                lines |= {*run, end}
        assert set(maps.lines[i].nonzero()[:, 0].tolist()) == lines
        decisive = set()
        for s in range(64):
            if state[s] != EMPTY:
                turned = list(state)
                turned[s] = WHITE if state[s] == BLACK else BLACK
                if (move in legal(turned, BLACK)) != (move in legal(state, BLACK)):
                    decisive.add(s)
        assert set(maps.decisive[i].nonzero()[:, 0].tolist()) == decisive
        assert decisive <= lines  # a legal move can only be broken on its lines
        discs = {s for s in range(64) if state[s] != EMPTY}
        assert set((~torch.isnan(maps.effect[i])).nonzero()[:, 0].tolist()) == discs


def test_moves_asked_for(editor, positions):
    tokens, ply = positions
    maps = saliency(editor, tokens[:2], ply[:2], METHOD, moves=[0, 63])
    assert maps.move.tolist() == [0, 63, 0, 63] and not maps.legal.any()
    with pytest.raises(InputError, match="only maps of legal moves"):
        score_maps(maps, maps)
    with pytest.raises(InputError, match="no move at every position"):
        saliency(editor, tokens[:2], ply[:2], METHOD, moves=[27])


def test_a_perfect_map_and_a_blind_one(maps):
    disc = ~torch.isnan(maps.effect)
    noise = torch.randn(maps.effect.shape, generator=torch.Generator().manual_seed(0)) / 100
    perfect = torch.where(disc, -maps.decisive.float() + noise, torch.nan)
    blind = torch.where(disc, noise, torch.nan)
    score = score_maps(replace(maps, effect=perfect), replace(maps, effect=blind))
    assert (float(score.precision.value), float(score.recall.value), score.f1) == (1.0, 1.0, 1.0)
    assert score.average_precision == pytest.approx(1.0) and score.lines_precision == 1.0
    assert score.control[3] < 0.3 and score.base_rate == pytest.approx(
        float(maps.decisive[maps.position % 2 == 1].sum() / disc[maps.position % 2 == 1].sum())
    )
    # Half of what is decisive missed: all that is found is right, and half is found.
    half = perfect.clone()
    held = (maps.decisive & disc).nonzero()[::2]
    half[held[:, 0], held[:, 1]] = 0.0
    score = score_maps(replace(maps, effect=half), replace(maps, effect=blind))
    assert float(score.precision.value) == 1.0 and 0.3 < float(score.recall.value) < 0.7


def test_too_little_to_score(maps):
    first = maps.position == 0
    one = replace(maps, **{name: getattr(maps, name)[first] for name in
                           ("position", "move", "effect", "decisive", "lines", "legal")})  # fmt: skip
    with pytest.raises(InputError, match="too few positions"):
        score_maps(one, one)
