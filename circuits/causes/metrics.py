"""What a causal analysis measures at the end of a pair: logits, the legal set, or a reading of the checkpoint.

    logit                a move's logit less the mean over the 60 moves (token 0 is never trained)
    log-probability      over the vocabulary
    logit difference     between two moves
    newly legal          mean logit of the moves legal only in the clean position, less that of those legal only in
                         the corrupt one: the difference that the two rule sets make, whatever the question
    illegal mass         probability outside the legal moves of a position
    top-N error          Li et al.'s: false positives and negatives among the N most likely moves, N = how many are
                         legal; counts, so it has no useful gradient
    coordinate, reading  of the residual stream at a point: along a direction, or a linear probe's log-odds of a class

Each is a function of one position's output, so patching may compute as little as that position needs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuits.attribution import LOGITS
from circuits.causes.pairs import Pairs
from circuits.directions import Directions
from circuits.errors import InputError
from circuits.notation import LABELS, N_MOVES, SQUARE_TOKEN, square, token, token_square
from circuits.othello import bits_to_bool


@dataclass(frozen=True, eq=False)
class Metric:
    """One number a pair, from the output at one position.

    Attributes:
        name: with its unit, for tables and pages.
        point: a residual hook such as ``"blocks.5.hook_resid_post"``, or ``"logits"``.
        of: f(output [row, token or d_model], pair [row]) -> [row]; ``pair`` says which pair a row belongs to.
        differentiable: whether its gradient says anything.
        pairs: how many pairs it was made for, where each has a target of its own.
    """

    name: str
    point: str
    of: Callable[[Float[Tensor, "row _"], Int[Tensor, "row"]], Float[Tensor, "row"]]
    differentiable: bool = True
    pairs: int | None = None

    def __call__(self, output: Float[Tensor, "row _"], pair: Int[Tensor, "row"]) -> Float[Tensor, "row"]:
        return self.of(output, pair)


def check_pairs(metric: Metric, pairs: Pairs) -> None:
    """Refuse a metric that was made for another set of pairs.

    Raises:
        InputError: their numbers differ.
    """
    if metric.pairs not in (None, len(pairs)):
        raise InputError(
            f"{metric.name} was made for {metric.pairs} pairs, each with a target of its own, and these are "
            f"{len(pairs)}: make it from the pairs that are measured"
        )


Squares = str | int | Sequence[str | int] | Int[Tensor, "pair"]


def logit(move: Squares) -> Metric:
    """A move's logit relative to the mean over the 60 moves; one move, or one per pair.

    Raises:
        InputError: no square, or a centre square.
    """
    tokens, name = _tokens(move)

    def of(logits, pair):
        return _pick(logits, tokens, pair) - logits[:, 1:].mean(1)

    return Metric(f"{name} logit", LOGITS, of, pairs=_own(tokens))


def log_probability(move: Squares) -> Metric:
    """A move's log-probability (nats); one move, or one per pair."""
    tokens, name = _tokens(move)
    return Metric(
        f"{name} log-probability", LOGITS, lambda x, pair: _pick(x.log_softmax(-1), tokens, pair), pairs=_own(tokens)
    )


def logit_difference(move: Squares, other: Squares) -> Metric:
    """The logit of one move less that of another; one each, or one per pair.

    Raises:
        InputError: as `logit`; a move less itself.
    """
    (a, name), (b, other_name) = _tokens(move), _tokens(other)
    if (a == b).any():
        raise InputError(f"the logit of {name} less itself is always 0: give two different moves")
    own = _own(a) or _own(b)
    return Metric(
        f"{name} − {other_name} logit", LOGITS, lambda x, pair: _pick(x, a, pair) - _pick(x, b, pair), pairs=own
    )


def newly_legal(pairs: Pairs) -> Metric:
    """Mean logit of the moves legal only in clean, less that of those legal only in corrupt.

    Where a side has none, the mean over the moves legal in both stands in for it, and over all 60 moves where there
    is none either.

    Raises:
        InputError: in some pair the legal moves do not differ.
    """
    clean, corrupt = pairs.newly_legal()
    same = ~(clean.any(1) | corrupt.any(1))
    if same.any():
        raise InputError(
            f"pair {int(same.nonzero()[0])}: the same moves are legal in both positions, so there is no newly legal "
            "move to measure; choose another metric, or keep pairs[pairs.legal_differs]"
        )
    both = bits_to_bool(pairs.clean_end.legal & pairs.corrupt_end.legal)
    everything = torch.ones_like(both)
    everything[:, SQUARE_TOKEN == 0] = False

    def weights(first: Tensor) -> Tensor:
        chosen = torch.where(first.any(1, keepdim=True), first, both)
        chosen = torch.where(chosen.any(1, keepdim=True), chosen, everything).float()
        return _by_token(chosen / chosen.sum(1, keepdim=True))

    w = weights(clean) - weights(corrupt)
    name = "newly legal logit difference"
    return Metric(name, LOGITS, lambda x, pair: (x * w.to(x)[pair.cpu()]).sum(1), pairs=len(pairs))


def illegal_mass(pairs: Pairs, of: str = "clean") -> Metric:
    """Probability outside the legal moves of the clean (or ``"corrupt"``) position."""
    legal = _by_token(_legal(pairs, of).float())
    name = f"probability on moves illegal in the {of} position"
    return Metric(name, LOGITS, lambda x, pair: 1 - (x.softmax(-1) * legal.to(x)[pair.cpu()]).sum(1), pairs=len(pairs))


def top_n_error(pairs: Pairs, of: str = "clean") -> Metric:
    """Li et al.'s error against the legal moves of the clean (or ``"corrupt"``) position, in moves."""
    legal = _by_token(_legal(pairs, of).float())[:, 1:].bool()

    def error(logits, pair):
        truth = legal.to(logits.device)[pair.cpu().to(logits.device)]
        order = logits[:, 1:].argsort(-1, descending=True).argsort(-1)
        return ((order < truth.sum(1, keepdim=True)) ^ truth).sum(1).float()

    return Metric(f"top-N error against the {of} position", LOGITS, error, differentiable=False, pairs=len(pairs))


def coordinate(directions: Directions, name: str) -> Metric:
    """The stream's coordinate on a named unit direction, at the directions' point.

    Raises:
        InputError: no such direction.
    """
    vector = directions[name]
    return Metric(f"{name} coordinate", directions.hook, lambda x, pair: x @ vector.to(x))


def reading(
    weight: Float[Tensor, "d_model class"], bias: Float[Tensor, "class"], which: int, name: str, point: str
) -> Metric:
    """A linear probe's log-odds of a class against the others together, at a point of the stream."""

    def of(stream, pair):
        log_p = (stream @ weight.to(stream) + bias.to(stream)).log_softmax(-1)
        others = torch.cat([log_p[:, :which], log_p[:, which + 1 :]], 1)
        return log_p[:, which] - others.logsumexp(1)

    return Metric(f"{name} reading", point, of)


def _tokens(move: Squares) -> tuple[Tensor, str]:
    """Tokens (one, or one per pair) and a name."""
    if isinstance(move, str | int):
        index = square(move) if isinstance(move, str) else move
        return torch.tensor([token(index)]), LABELS[index]
    squares = move.tolist() if isinstance(move, Tensor) else [square(m) if isinstance(m, str) else m for m in move]
    tokens = torch.tensor([token(s) for s in squares])
    names = {LABELS[s] for s in squares}
    return tokens, names.pop() if len(names) == 1 else "own move's"


def _own(tokens: Tensor) -> int | None:
    """How many pairs have a move of their own; None where all have one."""
    return None if len(tokens) == 1 else len(tokens)


def _pick(values: Tensor, tokens: Tensor, pair: Tensor) -> Tensor:
    chosen = tokens.expand(len(values)) if len(tokens) == 1 else tokens[pair.cpu()]
    return values.gather(1, chosen.to(values.device)[:, None])[:, 0]


def _legal(pairs: Pairs, of: str) -> Tensor:
    if of not in ("clean", "corrupt"):
        raise InputError(f"{of!r}: the legal moves of the 'clean' or of the 'corrupt' position")
    return bits_to_bool((pairs.clean_end if of == "clean" else pairs.corrupt_end).legal)


def _by_token(squares: Float[Tensor, "pair square"]) -> Float[Tensor, "pair token"]:
    """Values on squares as values on tokens; 0 on token 0."""
    moves = squares[:, [token_square(t) for t in range(1, N_MOVES + 1)]]
    return torch.cat([torch.zeros_like(moves[:, :1]), moves], 1)
