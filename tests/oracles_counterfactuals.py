"""Changes of games by the slow engine: what holds after a transcript, and every legal change of one."""

from functools import cache

import oracles
import torch

from circuits.causes.pairs import KINDS, Pairs
from circuits.features import LITERALS
from circuits.notation import LABELS

LAST, SWAPPED, TRANSPOSED = KINDS[1:4]


@cache
def replayed(moves: tuple[int, ...]) -> dict | None:
    """The last state by the slow engine, with what can be said of it; None where a move is illegal."""
    try:
        state = oracles.replay(list(moves))[-1]
    except ValueError:
        return None
    facts = {f"{LABELS[s]} {name}" for name in LITERALS for s in oracles.literal(state, name)}
    facts |= {f"legal {LABELS[s]} via {way} x{k}" for s, way, k in oracles.patterns(state)}
    return {**state, "facts": facts}


def squares(tokens: torch.Tensor) -> tuple[int, ...]:
    return tuple(oracles.SQUARE_OF_TOKEN[t] for t in tokens.tolist() if t)


def differing(a: dict, b: dict) -> int:
    return sum(x != y for x, y in zip(a["board"], b["board"], strict=True))


def holds(state: dict, fact: str) -> bool:
    return (fact.lstrip("!") in state["facts"]) != fact.startswith("!")


def checked(pairs: Pairs, fact: str | None, keep: tuple[str, ...] = ()) -> None:
    """Every pair: legal, as long, the same side to move, changed as its kind says, toggled and kept."""
    for i in range(len(pairs)):
        clean, corrupt = squares(pairs.clean[i]), squares(pairs.corrupt[i])
        a, b = replayed(clean), replayed(corrupt)
        assert len(clean) == len(corrupt) == pairs.ply[i] + 1
        assert a["side"] == b["side"] and a["legal"] and b["legal"]
        if fact is not None:
            assert holds(a, fact) and not holds(b, fact)
        assert all(holds(state, name) for state in (a, b) for name in keep)
        where = [t for t, (x, y) in enumerate(zip(clean, corrupt, strict=True)) if x != y]
        kind = KINDS[pairs.kind[i]]
        if kind == TRANSPOSED:
            assert len(where) == 2 and a["board"] == b["board"] and sorted(clean) == sorted(corrupt)
        else:
            assert len(where) == 1 and (where[0] == len(clean) - 1) == (kind == LAST)


def all_changes(moves: tuple[int, ...], same_last_move: bool = True) -> dict[tuple[int, ...], str]:
    """Every legal change of a game by brute force -> its kind."""
    found, end, before = {}, replayed(moves), [{"board": oracles.start(), "side": oracles.BLACK}]
    before += oracles.replay(list(moves))

    def same_side(other: tuple[int, ...]) -> dict | None:
        state = replayed(other)
        return state if state and state["side"] == end["side"] and state["legal"] else None

    for i in range(len(moves)):
        for s in oracles.legal(before[i]["board"], before[i]["side"]):
            other = (*moves[:i], s, *moves[i + 1 :])
            if s != moves[i] and same_side(other):
                found[other] = LAST if i == len(moves) - 1 else SWAPPED
        for j in range(i + 1, len(moves) - same_last_move):
            other = (*moves[:i], moves[j], *moves[i + 1 : j], moves[i], *moves[j + 1 :])
            state = same_side(other) if before[i]["side"] == before[j]["side"] else None
            if state and state["board"] == end["board"]:
                found[other] = TRANSPOSED
    return found
