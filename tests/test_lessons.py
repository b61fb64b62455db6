"""Games in a fixed order however they are cut, the objectives against slow sums, the four symmetries."""

import pytest
import torch
from oracles import SQUARE_OF_TOKEN
from oracles import replay as slow_replay

from circuits.errors import InputError
from circuits.games import Games, generate, transcript_hash
from circuits.notation import SQUARE_TOKEN
from circuits.othello import random_games, replay
from circuits.training.lessons import (
    HELD_OUT_SEED,
    SYMMETRIC_TOKENS,
    TRAINING_SEEDS,
    FileGames,
    RandomGames,
    figures,
    held_out_games,
    is_uniform,
    lesson,
    total_loss,
)

NONE = torch.zeros(0, dtype=torch.int64)


def test_random_games_are_the_same_for_any_batch_size():
    one, other = RandomGames(3, NONE), RandomGames(3, NONE)
    one.chunk = other.chunk = 50  # so that batches straddle chunks
    whole = one.batch(0, 120)
    parts = [other.batch(first, n) for first, n in ((0, 7), (7, 60), (67, 53))]
    assert torch.equal(whole.tokens, torch.cat([p.tokens for p in parts]))
    assert torch.equal(whole.legal, torch.cat([p.legal for p in parts]))
    assert torch.equal(whole.tokens, random_games(120, TRAINING_SEEDS + 3).long())


def test_held_out_games_are_shown_as_padding():
    games = random_games(40, TRAINING_SEEDS + 3)
    source = RandomGames(3, transcript_hash(games[[4, 17]]))
    shown = source.batch(0, 40)
    empty = (shown.tokens == 0).all(1)
    assert empty.nonzero().flatten().tolist() == [4, 17]
    assert not shown.where("legal")[4].any() and not shown.where("sampled")[17].any()


def test_training_games_are_those_of_no_seed_given_elsewhere():
    """The games that `info`, `probe train` or `compare` make by default are fresh to a model of the same seed."""
    shown = transcript_hash(RandomGames(HELD_OUT_SEED, NONE).batch(0, 500).tokens)
    for seed in (0, 1, HELD_OUT_SEED):
        assert not torch.isin(shown, transcript_hash(generate(500, seed).tokens)).any()
    assert torch.equal(held_out_games(5).tokens, generate(5, HELD_OUT_SEED).tokens)


def short_games():
    """Games of which some pass, some end early, and one breaks off."""
    tokens = random_games(400, 9)
    boards = replay(tokens[:, :59])
    rows = boards.passed.any(1).nonzero().flatten()[:4].tolist()
    rows += (tokens[:, -1] == 0).nonzero().flatten()[:3].tolist()
    picked = tokens[rows].clone()
    picked[-1, 30:] = 0
    return picked


def test_objectives_equal_a_slow_sum_over_positions():
    games = lesson(short_games())
    logits = torch.randn(len(games), 59, 61, generator=torch.Generator().manual_seed(0))
    logp = logits.double().log_softmax(-1)
    legal_sum, sampled_sum, legal_n, sampled_n, illegal = 0.0, 0.0, 0, 0, 0
    for g, tokens in enumerate(games.tokens.tolist()):
        states = slow_replay([SQUARE_OF_TOKEN[token] for token in tokens[:59] if token])
        for t, state in enumerate(states):
            moves = [SQUARE_OF_TOKEN.index(square) for square in state["legal"]]
            if moves:
                legal_sum -= sum(float(logp[g, t, m]) for m in moves) / len(moves)
                legal_n += 1
                illegal += int(logits[g, t].argmax()) not in moves
            if following := tokens[t + 1]:
                assert following in moves  # the mover of the rules, after a pass too
                sampled_sum -= float(logp[g, t, following])
                sampled_n += 1
    assert float(total_loss(logits, games, "legal")) == pytest.approx(legal_sum, rel=1e-5)
    assert float(total_loss(logits, games, "sampled")) == pytest.approx(sampled_sum, rel=1e-5)
    assert int(games.where("legal").sum()) == legal_n and int(games.where("sampled").sum()) == sampled_n
    assert legal_n > sampled_n  # the game that breaks off has a legal move at its end, and no next one
    found = figures(logits, games)
    assert found["positions"] == legal_n and found["illegal_top1"] == illegal


def test_legal_is_the_expectation_of_sampled():
    """Over games that share their first moves and go on with each legal one, the sampled loss averages to the legal."""
    start = random_games(1, 2)[0, :6]
    legal = int(replay(start[None]).legal[0, -1])
    followers = [square for square in range(64) if legal >> square & 1]
    tokens = torch.zeros(len(followers), 60, dtype=torch.uint8)
    tokens[:, :6] = start
    tokens[:, 6] = SQUARE_TOKEN[torch.tensor(followers)].to(torch.uint8)
    games = lesson(tokens)
    logits = torch.randn(1, 59, 61, generator=torch.Generator().manual_seed(1)).expand(len(followers), -1, -1)
    only = torch.zeros(59, dtype=torch.bool)
    only[5] = True
    at = logits.masked_fill(~only[None, :, None], 0.0)  # every other position has the same loss, whatever it is
    other = total_loss(torch.zeros_like(at), games, "sampled"), total_loss(torch.zeros_like(at), games, "legal")
    sampled = (total_loss(at, games, "sampled") - other[0]) / len(followers)
    expected = (total_loss(at, games, "legal") - other[1]) / len(followers)
    assert float(sampled) == pytest.approx(float(expected), abs=1e-4)


def test_symmetries_take_legal_games_to_legal_games():
    tokens = random_games(30, 5)
    images = [Games.of(SYMMETRIC_TOKENS[s][tokens.long()]) for s in range(4)]  # refuses illegal games
    counts = [[int(x) for x in replay(i.tokens).legal.eq(0).sum(1)] for i in images]
    assert all(c == counts[0] for c in counts)
    assert len({i.fingerprint for i in images}) == 4
    twice = SYMMETRIC_TOKENS.gather(1, SYMMETRIC_TOKENS)
    assert (twice == torch.arange(61)).all()  # each is its own inverse


def test_file_games_are_all_shown_once_an_epoch():
    games = generate(23, 1)
    source = FileGames(games, 0, NONE)
    first, second = source.batch(0, 23), source.batch(23, 23)
    expected = games.tokens.long().unique(dim=0)
    assert torch.equal(first.tokens.unique(dim=0), expected) and torch.equal(second.tokens.unique(dim=0), expected)
    assert not torch.equal(first.tokens, second.tokens)
    again = FileGames(games, 0, NONE).batch(20, 10)
    assert torch.equal(again.tokens, torch.cat([first.tokens[20:], second.tokens[:7]]))


def test_file_games_held_out_are_never_shown():
    games = generate(30, 1)
    _, out = games.split(0.3)
    shown = FileGames(games, 0, transcript_hash(out.tokens)).batch(0, 300).tokens
    assert not torch.isin(transcript_hash(shown.to(torch.uint8)), transcript_hash(out.tokens)).any()
    with pytest.raises(InputError, match="none is left"):
        FileGames(games, 0, transcript_hash(games.tokens))


def test_no_image_of_a_held_out_game_is_shown():
    games = generate(6, 1)
    mirrored = Games.of(torch.cat([games.tokens, SYMMETRIC_TOKENS[2][games.tokens[:2].long()].to(torch.uint8)]))
    held_out = transcript_hash(games.tokens[:2])
    shown = FileGames(mirrored, 0, held_out, symmetries=True).batch(0, 400).tokens
    images = transcript_hash(SYMMETRIC_TOKENS[:, games.tokens[:2].long()].flatten(0, 1))
    assert not torch.isin(transcript_hash(shown), images).any()
    assert len(FileGames(mirrored, 0, held_out).games) == 6  # without symmetries the mirrored copies are other games


def test_symmetric_file_games_come_in_four_orientations():
    games = generate(1, 1)
    shown = FileGames(games, 0, NONE, symmetries=True).batch(0, 200).tokens
    images, counts = shown.unique(dim=0, return_counts=True)
    assert torch.equal(images, SYMMETRIC_TOKENS[:, games.tokens[0].long()].unique(dim=0))
    assert counts.min() > 25


def test_only_sets_that_say_so_are_uniform(tmp_path):
    assert is_uniform(generate(3, 1))
    assert not is_uniform(Games.of(random_games(3, 1), "club.pgn"))
