"""Counterfactual games: legal transcripts that differ in one move and in one fact, as little as possible.

A *fact* is a feature of `circuits.features.Features` by name (``"C0 empty"``, ``"B4 flipped"``,
``"legal C0 via SE x1"``; ``!`` in front negates it), taken at a pair's position. It holds at the end of every clean
transcript and not at the end of its corrupt one; facts named in ``keep`` hold at the end of both. Both have the
same length and the same side to move. Kinds, as labelled in `Pairs.kind` (see `circuits.causes.variations`):

    last move changed    another legal last move
    one move swapped     one earlier move replaced by another, every later move kept
    transposition        two moves of one side exchanged, the same board: what differs is the order of moves, and
                         with it perhaps what the last move flipped

For near misses, whose transcripts differ throughout, see `circuits.causes.near_misses`.

Positions are tried game by game, those of one game in random order, until ``per_game`` of them have a
counterfactual; of a position's counterfactuals the one is taken whose board differs on the fewest squares, then
whose last move flipped the most alike, then one at random. All randomness is a hash of (seed, game, ply, change):
the same games and seed give the same pairs, and fewer pairs are a prefix of more.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Integer
from torch import Tensor

from circuits.causes.counterfactual_search import Search
from circuits.causes.facts import all_hold, parse_facts
from circuits.causes.game_streams import Batch
from circuits.causes.pairs import Pairs
from circuits.causes.variations import MADE, Positions
from circuits.errors import InputError
from circuits.games import MIDDLE_BAND, Games
from circuits.notation import N_CTX
from circuits.othello import replay


def last_move_changed(
    games: Games | int, fact: str | None, n: int, *, keep: Sequence[str] = (), plies: slice = MIDDLE_BAND,
    seed: int = 0, per_game: int = 1,
) -> Pairs:  # fmt: skip
    """Pairs whose last move differs; as `counterfactuals` with that one kind."""
    return Search(fact, keep, MADE[:1]).run(games, n, plies, seed, per_game)


def one_move_swapped(
    games: Games | int, fact: str | None, n: int, *, keep: Sequence[str] = (), plies: slice = MIDDLE_BAND,
    changed: slice = slice(None), seed: int = 0, per_game: int = 1,
) -> Pairs:  # fmt: skip
    """Pairs in which one move before the last differs; as `counterfactuals` with that one kind."""
    return Search(fact, keep, MADE[1:2], changed=changed).run(games, n, plies, seed, per_game)


def transpositions(
    games: Games | int, n: int, *, plies: slice = MIDDLE_BAND, changed: slice = slice(None), seed: int = 0,
    per_game: int = 1, same_last_move: bool = True,
) -> Pairs:  # fmt: skip
    """Pairs that reach the same board, two moves of one side exchanged; at most ``n``.

    With the same last move, ``played`` does not differ. ``flipped`` may, where the boards before the last move
    did; of a position's transpositions one is taken in which it differs least (`Pairs.differing`).

    Raises: as `counterfactuals`.
    """
    return Search(None, (), MADE[2:], same_last_move=same_last_move, changed=changed).run(
        games, n, plies, seed, per_game
    )


def counterfactuals(
    games: Games | int, fact: str | None, n: int, *, kinds: Sequence[str] = MADE[:2], keep: Sequence[str] = (),
    plies: slice = MIDDLE_BAND, changed: slice = slice(None), seed: int = 0, per_game: int = 1,
) -> Pairs:  # fmt: skip
    """Pairs of transcripts, clean and corrupt, of which a fact holds at the end of the clean one only.

    Args:
        games: a set to search, or how many held-out random games to search at most (`circuits.causes.game_streams`).
        fact: what is to differ; "!" in front for pairs where it holds in the corrupt one only; several joined by
            "&" all hold in clean and none in corrupt; None: whatever differs.
        n: how many at most: fewer are returned where the games hold no more, and `Pairs.source` says so.
        kinds: of which of them, by name; the closest is taken, whatever its kind.
        keep: facts that hold in both.
        plies: the positions considered; changed: the plies at which the first changed move may lie (the closest
            pairs change late).
        seed: of the choice, and of the random games.
        per_game: positions of one game at most.

    Raises:
        InputError: an unknown fact or kind, a bad band or number; no counterfactual among the games (and why).
    """
    return Search(fact, keep, kinds, changed=changed).run(games, n, plies, seed, per_game)


def for_position(
    game: Games | Integer[Tensor, "ply"] | Sequence[int], ply: int, fact: str | None = None, *,
    kinds: Sequence[str] = MADE, keep: Sequence[str] = (), same_last_move: bool = True,
) -> Pairs:  # fmt: skip
    """All counterfactuals of one position, those that differ least first: by squares, moves, then flipped discs.

    Args:
        game: one game (``games[row]``), or its tokens.
        ply: the position. Its game is the clean transcript of every pair.
        fact: those that toggle it only (each of several joined by "&"): pairs where it holds at the position and
            not in the counterfactual, or the other way round (then `Pairs.swapped` puts it into the clean ones). All
            where not given.
        kinds, keep, same_last_move: as elsewhere in this file.

    Raises:
        InputError: an illegal game or several, no such position, nobody can move there, an unknown fact or kind; no
            counterfactual (and why).
    """
    batch, name = _one_game(game)
    length = int((batch.tokens != 0).sum())
    last = min(length, N_CTX) - 1
    if not 0 <= ply <= last:
        raise InputError(f"ply {ply}: the positions of {name} that a model reads have plies 0..{last}")
    if not batch.boards.valid[0, ply]:
        raise InputError(f"{name}, ply {ply}: the game is over there, nobody can move")
    position = Positions(batch, torch.tensor([0]), torch.tensor([ply]))
    # Each as it is at the position, so that the counterfactual has the opposite of each.
    facts = (one if one.holds(position.ends) else ~one for one in parse_facts(fact))
    fact = None if fact is None else " & ".join(map(str, facts))
    search = Search(fact, keep, kinds, same_last_move=same_last_move)
    if not all_hold(search.keep, position.ends):
        kept = " & ".join(map(str, search.keep))
        raise InputError(f"{name}, ply {ply}: {kept} does not hold there, so it cannot be kept")
    found = search.variations(position)
    if not len(found):
        raise InputError(f"{name}, ply {ply}: {search.why_none()}")
    order = (found.squares * 4 + found.moves) * 64 + found.turned
    found = found[order.argsort(stable=True)]
    pairs = Pairs.of(
        position.transcripts[found.position], position.varied(found), game=batch.ids[found.position],
        question=search.question, source=f"{name}, ply {ply}",
    )  # fmt: skip
    return replace(pairs, kind=found.kind)


def _one_game(game: Games | Tensor | Sequence[int]) -> tuple[Batch, str]:
    games = game if isinstance(game, Games) else Games.of(torch.as_tensor(game)[None], "the game given")
    if len(games) > 1:
        raise InputError(f"{len(games)} games: the counterfactuals of a position are those of one, games[row]")
    return Batch(games.tokens, games.ids, replay(games.tokens[:, :N_CTX])), f"game {int(games.ids)} of {games.source}"
