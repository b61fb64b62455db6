"""How well an atlas's model plays, on its own games: figures of `circuits.behaviour` with errors over games."""

from typing import NamedTuple

from circuits.atlas.work import Worker
from circuits.training.by_game import play_by_game
from reports.text import count, fixed, percent

#: games that it is watched on
GAMES = 400


class PlayRow(NamedTuple):
    """A figure, its standard error over games, and the same of a uniform guess over the 60 moves."""

    name: str
    value: str
    error: str
    guess: str
    number: float


class Plays(NamedTuple):
    rows: tuple[PlayRow, ...]
    measured: str


def plays(worker: Worker, games: int = GAMES) -> Plays:
    """Every figure over all positions of some of the atlas's games that have a legal move, all plies.

    Raises:
        InputError: none has.
    """
    given = worker.games.part(0, games)
    found = play_by_game(worker.model, given)
    rows = []
    for name, key, write, turned in (
        ("likeliest move is legal", "illegal_top1", lambda v: percent(v, 2), True),
        ("probability on legal moves", "illegal_mass", lambda v: percent(v, 2), True),
        ("illegal or missing among the N likeliest, N legal", "top_n_error", lambda v: fixed(v, 3), False),
        ("KL from equal chance to each legal move, nats", "kl_to_uniform_legal", lambda v: fixed(v, 4), False),
    ):  # fmt: skip
        own, guess = found[key]
        value, guess = (1 - own.value, 1 - guess) if turned else (own.value, guess)
        error = own.standard_error
        rows.append(PlayRow(name, write(value), "" if error is None else f"±\u00a0{write(error)}", write(guess), value))
    positions = int(found["illegal_top1"][0].counts.sum())
    said = f"{count(len(given))} games of the atlas ({given.source}), {count(positions)} positions, all plies"
    return Plays(tuple(rows), said)
