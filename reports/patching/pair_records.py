"""What a set of pairs is, as a record: how many, of which kinds, what differs between the two boards, one drawn."""

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from circuits.causes.pairs import COMPARED, Pairs
from circuits.features import literal_bits
from circuits.notation import LABELS, token_square
from circuits.othello import Boards, bits_to_bool
from circuits.serial import Record

#: so many of the literals that differ most often are kept
LITERALS_KEPT = 12


@dataclass(frozen=True)
class EndPosition(Record):
    """The end of one transcript."""

    transcript: str
    board: Annotated[tuple[int, ...], 64]  # 0 empty, 1 theirs, 2 mine
    mover: str
    last: str
    flipped: tuple[str, ...]
    legal: tuple[str, ...]
    metric: float  # of the unpatched run


@dataclass(frozen=True)
class PairExample(Record):
    """One pair, drawn on the page."""

    number: int
    kind: str
    game: int
    ply: int
    differs: str
    clean: EndPosition
    corrupt: EndPosition


@dataclass(frozen=True)
class LiteralShare(Record):
    """In what share of the pairs a literal holds in the clean, or the corrupt, position only."""

    literal: str
    clean_only: float
    corrupt_only: float


@dataclass(frozen=True)
class PairsRecord(Record):
    """A set of pairs; means are over pairs."""

    pairs: int
    games: int
    question: str
    source: str
    kinds: dict[str, int]
    first_ply: int  # of the positions asked about
    last_ply: int
    mean_ply: float
    mean_first_difference: float  # the ply
    squares_differ: float  # squares in another state
    newly_legal_clean: float  # moves legal in the clean position only
    newly_legal_corrupt: float
    literals: tuple[LiteralShare, ...]
    example: PairExample


def pairs_record(pairs: Pairs, clean: Float[Tensor, "pair"], corrupt: Float[Tensor, "pair"]) -> PairsRecord:
    """Describe pairs; ``clean`` and ``corrupt`` are the metric of the unpatched runs.

    The pair drawn is the one whose difference is nearest the mean.
    """
    gap = clean - corrupt
    example = int((gap - gap.mean()).abs().argmin())
    ends = (pairs.clean_end, pairs.corrupt_end)
    shares, changed = [], torch.zeros(len(pairs), 64, dtype=torch.bool)
    for literal in COMPARED:
        a, b = (bits_to_bool(literal_bits(end, literal)) for end in ends)
        if literal in ("empty", "mine", "theirs"):
            changed |= a ^ b
        ways = ((a & ~b).float().mean(0), (b & ~a).float().mean(0))
        shares += [LiteralShare(f"{LABELS[s]} {literal}", float(ways[0][s]), float(ways[1][s])) for s in range(64)]
    shares = sorted((s for s in shares if s.clean_only + s.corrupt_only), key=lambda s: -s.clean_only - s.corrupt_only)
    newly = pairs.newly_legal()
    values = (clean, corrupt)
    tokens = (pairs.clean, pairs.corrupt)
    sides = [end_position(tokens[i][example], ends[i][example], float(values[i][example])) for i in (0, 1)]
    drawn = PairExample(
        number=example,
        kind=next(iter(pairs[example].kinds())),
        game=int(pairs.game[example]),
        ply=int(pairs.ply[example]),
        differs=str(pairs.difference(example)),
        clean=sides[0],
        corrupt=sides[1],
    )
    return PairsRecord(
        pairs=len(pairs),
        games=len(pairs.game.unique()),
        question=pairs.question,
        source=pairs.source,
        kinds=pairs.kinds(),
        first_ply=int(pairs.ply.min()),
        last_ply=int(pairs.ply.max()),
        mean_ply=float(pairs.ply.float().mean()),
        mean_first_difference=float(pairs.first.float().mean()),
        squares_differ=float(changed.sum(1).float().mean()),
        newly_legal_clean=float(newly[0].sum(1).float().mean()),
        newly_legal_corrupt=float(newly[1].sum(1).float().mean()),
        literals=tuple(shares[:LITERALS_KEPT]),
        example=drawn,
    )


def end_position(tokens: Integer[Tensor, "60"], end: Boards, metric: float) -> EndPosition:
    """The position that a transcript [60] ends in; ``end`` has no batch axes."""

    def squares(field: str) -> list[int]:
        return bits_to_bool(getattr(end, field)).nonzero().flatten().tolist()

    mine, theirs = squares("mine"), squares("theirs")
    moves = [LABELS[token_square(t)] for t in tokens.tolist() if t]
    return EndPosition(
        transcript=" ".join(moves),
        board=tuple(2 if s in mine else 1 if s in theirs else 0 for s in range(64)),
        mover="black" if end.black_to_move else "white",
        last=moves[-1],
        flipped=tuple(LABELS[s] for s in squares("flipped")),
        legal=tuple(LABELS[s] for s in squares("legal")),
        metric=metric,
    )
