"""Pairs of legal transcripts, clean and corrupt, that a causal question compares.

A pair ends at one position: both transcripts have ``ply + 1`` moves and the same side moves next. What differs
between the two boards is counted exactly, so that an effect can be said to be *of* something.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Int, Integer, UInt8
from torch import Tensor

from circuits.errors import InputError
from circuits.features import literal_bits
from circuits.notation import LABELS, N_CTX, N_MOVES, TOKEN_SQUARE, Notation
from circuits.othello import Boards, IllegalMove, bits_to_bool, replay

#: how a corrupt transcript was made from the clean one; "given" ones were brought by the user
KINDS = ("given", "last move changed", "one move swapped", "transposition", "near miss")
#: the literals in which two positions are compared
COMPARED = ("empty", "mine", "theirs", "played", "flipped", "legal")


@dataclass(frozen=True)
class Difference:
    """What differs between the two positions of one pair; squares are indices.

    Attributes:
        moves: (ply, clean square, corrupt square) of every ply at which the transcripts differ.
        squares: (square, its state in clean, in corrupt), states ``"empty"``, ``"mine"``, ``"theirs"``.
        literals: name -> whether it holds in the clean position, for every literal that holds in one of them only.
        legal_clean, legal_corrupt: moves legal in one of the two positions only.
    """

    moves: tuple[tuple[int, int, int], ...]
    squares: tuple[tuple[int, str, str], ...]
    literals: dict[str, bool]
    legal_clean: tuple[int, ...]
    legal_corrupt: tuple[int, ...]

    def __str__(self) -> str:
        def listed(squares: Sequence[int]) -> str:
            return " ".join(LABELS[s] for s in squares) or "none"

        moves = ", ".join(f"ply {t}: {LABELS[a]} or {LABELS[b]}" for t, a, b in self.moves) or "none"
        squares = ", ".join(f"{LABELS[s]} {a} or {b}" for s, a, b in self.squares) or "none"
        return (
            f"moves: {moves}; squares: {squares}; legal only in clean: {listed(self.legal_clean)}; "
            f"only in corrupt: {listed(self.legal_corrupt)}"
        )


@dataclass(frozen=True, eq=False)
class Pairs:
    """Clean and corrupt transcripts of equal lengths; made by `Pairs.of` or by `circuits.causes.counterfactuals`.

    Attributes:
        clean, corrupt: tokens [pair, 60], 0 after the position asked about.
        ply: [pair], the position: each transcript has ``ply + 1`` moves.
        kind: [pair], by index in `KINDS`.
        game: [pair], the game of the clean transcript; pairs of one game are no independent draws.
        question: what the pairs are to tell apart, in words.
        source: where they come from.
    """

    clean: UInt8[Tensor, "pair 60"]
    corrupt: UInt8[Tensor, "pair 60"]
    ply: Int[Tensor, "pair"]
    kind: UInt8[Tensor, "pair"]
    game: Int[Tensor, "pair"]
    question: str
    source: str

    @staticmethod
    def of(
        clean: Integer[Tensor, "clean clean_ply"],
        corrupt: Integer[Tensor, "corrupt corrupt_ply"],
        *,
        kind: str = "given",
        game: Int[Tensor, "game"] | None = None,
        question: str = "",
        source: str = "given",
        notation: Notation = "ours",
    ) -> "Pairs":
        """Pairs from tokens of any integer type (0 after a transcript's end), checked.

        Raises:
            InputError: no pairs; an illegal move (which transcript, which pair, which ply); unequal lengths; sides
                to move that differ; nobody can move at the end; more plies than a model reads; the same transcript
                twice; an unknown kind; numbers of games that do not fit.
        """
        if kind not in KINDS:
            raise InputError(f"{kind!r} is no kind of pair: {', '.join(KINDS)}")
        if game is not None and len(game) != len(clean):
            raise InputError(f"{len(game)} numbers of games for {len(clean)} pairs: one each")
        if clean.shape != corrupt.shape:
            raise InputError(
                f"{len(clean)} clean and {len(corrupt)} corrupt transcripts of {clean.shape[1]} and "
                f"{corrupt.shape[1]} plies: a pair has the same length, and each clean one its corrupt one"
            )
        boards = []
        for name, tokens in (("clean", clean), ("corrupt", corrupt)):
            try:
                boards.append(replay(tokens))
            except IllegalMove as error:
                raise InputError(f"pair {error.game}, {name} transcript: {error.reason(notation)}") from None
            except InputError as error:
                raise InputError(f"{name} transcripts: {error}") from None
        length = (clean != 0).sum(1)
        other = (corrupt != 0).sum(1)
        _refuse(length != other, lambda i: f"the clean transcript has {length[i]} moves, the corrupt one {other[i]}")
        _refuse(length == 0, lambda i: "both transcripts are empty")
        _refuse(length > N_CTX, lambda i: f"{length[i]} moves: a model reads at most {N_CTX}")
        _refuse((clean == corrupt).all(1), lambda i: "the clean and the corrupt transcript are the same")
        row = torch.arange(len(clean))
        ends = [b[row, length - 1] for b in boards]
        for name, end in zip(("clean", "corrupt"), ends, strict=True):
            _refuse(~end.valid, lambda i, name=name: f"nobody can move at the end of the {name} transcript")
        black = [end.black_to_move for end in ends]
        side = {True: "black", False: "white"}
        _refuse(
            black[0] != black[1],
            lambda i: (
                f"{side[bool(black[0][i])]} moves next in the clean, {side[bool(black[1][i])]} in the corrupt "
                "transcript: mine and theirs would change places"
            ),
        )
        whole = torch.zeros(2, len(clean), N_MOVES, dtype=torch.uint8)
        whole[0, :, : clean.shape[1]], whole[1, :, : corrupt.shape[1]] = clean, corrupt
        codes = torch.full((len(clean),), KINDS.index(kind), dtype=torch.uint8)
        return Pairs(*whole, length - 1, codes, row if game is None else game.long(), question, source)

    def __post_init__(self) -> None:
        if not len(self.clean):
            raise InputError(f"no pairs ({self.question or self.source}): at least one is needed")

    def __len__(self) -> int:
        return len(self.clean)

    def __repr__(self) -> str:
        return f"Pairs({len(self)}: {self.question or self.source})"

    def __getitem__(self, index: int | slice | list | Tensor) -> "Pairs":
        """Some of the pairs, by row, slice or mask."""
        if not isinstance(index, slice):
            index = torch.as_tensor(index)
            index = index[None] if index.ndim == 0 else index
        names = ("clean", "corrupt", "ply", "kind", "game")
        return replace(self, **{name: getattr(self, name)[index] for name in names})

    def swapped(self) -> "Pairs":
        """The same pairs with clean and corrupt exchanged."""
        return replace(self, clean=self.corrupt, corrupt=self.clean)

    @cached_property
    def first(self) -> Int[Tensor, "pair"]:
        """The first ply at which the transcripts differ: before it every activation is the same."""
        return (self.clean != self.corrupt).int().argmax(1)

    @cached_property
    def clean_end(self) -> Boards:
        """The clean positions, [pair]."""
        return self._end(self.clean)

    @cached_property
    def corrupt_end(self) -> Boards:
        """The corrupt positions, [pair]."""
        return self._end(self.corrupt)

    def _end(self, tokens: Tensor) -> Boards:
        return replay(tokens)[torch.arange(len(self)), self.ply]

    def differing(self, literal: str) -> Int[Tensor, "pair"]:
        """The squares, as bitboards, where a literal holds in one of the two positions only."""
        return literal_bits(self.clean_end, literal) ^ literal_bits(self.corrupt_end, literal)

    def newly_legal(self) -> tuple[Bool[Tensor, "pair square"], Bool[Tensor, "pair square"]]:
        """The moves legal in the clean position only, and in the corrupt one only."""
        clean, corrupt = self.clean_end.legal, self.corrupt_end.legal
        return bits_to_bool(clean & ~corrupt), bits_to_bool(corrupt & ~clean)

    @cached_property
    def legal_differs(self) -> Bool[Tensor, "pair"]:
        """Whether the two positions allow different moves: ``pairs[pairs.legal_differs]`` keeps those that do."""
        return self.clean_end.legal != self.corrupt_end.legal

    def difference(self, pair: int) -> Difference:
        """What differs between the two positions of one pair."""
        a, b = self.clean_end[pair], self.corrupt_end[pair]
        plies = (self.clean[pair] != self.corrupt[pair]).nonzero().flatten().tolist()
        squares_of = TOKEN_SQUARE.tolist()
        moves = tuple((t, squares_of[self.clean[pair, t]], squares_of[self.corrupt[pair, t]]) for t in plies)
        holds = {name: [bits_to_bool(literal_bits(end, name)).tolist() for end in (a, b)] for name in COMPARED}

        def state(square: int, side: int) -> str:
            return next(name for name in ("empty", "mine", "theirs") if holds[name][side][square])

        squares = [(s, state(s, 0), state(s, 1)) for s in range(64)]
        legal = holds["legal"]
        return Difference(
            moves,
            tuple(item for item in squares if item[1] != item[2]),
            {
                f"{LABELS[s]} {name}": in_clean[s]
                for name, (in_clean, in_corrupt) in holds.items()
                for s in range(64)
                if in_clean[s] != in_corrupt[s]
            },
            tuple(s for s in range(64) if legal[0][s] and not legal[1][s]),
            tuple(s for s in range(64) if legal[1][s] and not legal[0][s]),
        )

    def kinds(self) -> dict[str, int]:
        """How many pairs there are of each kind."""
        counts = torch.bincount(self.kind.long(), minlength=len(KINDS)).tolist()
        return {name: n for name, n in zip(KINDS, counts, strict=True) if n}


def join(parts: Sequence[Pairs], question: str | None = None) -> Pairs:
    """Several sets of pairs as one."""
    if not parts:
        raise InputError("no pairs to join: give at least one set")
    names = ("clean", "corrupt", "ply", "kind", "game")
    fields = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
    source = "; ".join(dict.fromkeys(part.source for part in parts))
    return Pairs(**fields, question=parts[0].question if question is None else question, source=source)


def _refuse(wrong: Bool[Tensor, "pair"], why) -> None:
    if wrong.any():
        pair = int(wrong.nonzero()[0])
        more = f" ({int(wrong.sum()) - 1} more pairs like it)" if wrong.sum() > 1 else ""
        raise InputError(f"pair {pair}: {why(pair)}{more}")
