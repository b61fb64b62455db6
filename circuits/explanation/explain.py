"""Why a model plays a move: the board it reads, what adds up to the move's logit, and what is lost without it.

For a transcript, a position at its end and a move:

    the board      each point's probe read, beside the same on reference games
    the squares    those that the rules make the move rest on (`circuits.explanation.lines`), at every point
    the logit      every component's contribution, and what of it is beyond the mean at this ply
    the tests      the units that contribute most, for and against, and those that write the squares' states before the
                   checkpoint: set to their means together and one by one, beside drawn units
    the rest       what the listed units do not account for

The sum of contributions must equal the model's logit; the checkpoint is the point whose probe reads the reference games
best at this ply, of several equals (within `run.EQUAL` squares) the middle one.
"""

from collections.abc import Callable, Mapping

from jaxtyping import Integer
from torch import Tensor

from circuits.attribution import SUM_TOLERANCE
from circuits.bitboards import bits_to_bool
from circuits.board_readers import BoardReader
from circuits.errors import InputError
from circuits.explanation import lines as rules
from circuits.explanation import records as r
from circuits.explanation.contributions import contributions, layers_before
from circuits.explanation.cover import cover
from circuits.explanation.describe import lens_of, lines_of, moves_of, parts_of, position_of, readings_of, rests_of
from circuits.explanation.means import Means
from circuits.explanation.run import board_direction, checkpoint_of, logit_target, rank, relative, run_position
from circuits.explanation.units import tests_of_units
from circuits.games import Games
from circuits.induction.table import RuleTable
from circuits.notation import LABELS, SQUARE_TOKEN, TOKEN_SQUARE, token
from circuits.othello_model import OthelloModel

#: drawn sets of each control
DRAWS = 20


def explain(
    model: OthelloModel,
    tokens: Integer[Tensor, "ply"],
    readers: Mapping[str, BoardReader],
    games: Games,
    move: int | None = None,
    table: RuleTable | None = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    known: Callable[[int], Means] | None = None,
) -> r.Explanation:
    """Explain one move.

    Args:
        tokens: the game so far, each move legal, nothing behind it.
        readers: the board probes by point, in the order of the stream.
        games: those that means are taken over, at this ply.
        move: the square of the move; by default the model's likeliest.
        table: what is known of neurons.
        draws: sets drawn for each control; seed: of the draws.
        known: the means at a ply over the same games, where they are kept.

    Raises:
        InputError: no moves, or more than the model reads; a finished game; a move that nobody can ever make; no
            probe of the board; no reference game that reaches this ply; contributions that do not sum to the logit.
    """
    run = run_position(model, tokens, readers, games, known)
    chosen = "the model's likeliest" if move is None else "asked for"
    square = int(TOKEN_SQUARE[1 + int(run.logits[1:].argmax())]) if move is None else move
    at = token(square) - 1
    logits = relative(run.logits)
    probabilities = run.logits.double().softmax(-1)[1:]
    vector, constant = logit_target(run, at)
    own, mean = (contributions(run.model, acts, vector, constant) for acts in (run.acts, run.means.acts))
    error = abs(own.sum() - float(logits[at])) / max(1e-12, float(logits.abs().max()))
    if not error <= SUM_TOLERANCE:
        raise InputError(f"contributions sum to the logit only within {error:.1e}: no explanation would be right")
    beyond = own.less(mean)
    checkpoint = checkpoint_of(run)
    resting = rules.rests(run.board, square)
    direction = board_direction(run, checkpoint, resting)
    attn, mlp = layers_before(checkpoint)
    board, usual = (contributions(run.model, acts, direction, 0.0, attn, mlp) for acts in (run.acts, run.means.acts))
    tests = tests_of_units(run, at, own, beyond, board.less(usual), direction, checkpoint, resting, table, draws, seed)
    found_lines = lines_of(run.board, square)
    return r.Explanation(
        version=r.Explanation.VERSION,
        position=position_of(run),
        move=LABELS[square],
        chosen=chosen,
        legal=bool(bits_to_bool(run.boards.legal)[0, run.ply, square]),
        reason=rules.reason(run.board, square),
        probability=float(probabilities[at]),
        mean_probability=float(run.means.probabilities[at]),
        logit=float(logits[at]),
        mean_logit=float(run.means.logits[at]),
        rank=rank(logits, at),
        probabilities=tuple(float(probabilities[t - 1]) if t else None for t in SQUARE_TOKEN.tolist()),
        moves=moves_of(run, logits, probabilities),
        lines=found_lines,
        rests=rests_of(run, resting),
        readings=readings_of(run),
        checkpoint=checkpoint,
        lens=lens_of(run, at),
        parts=parts_of(own, beyond),
        at_means=mean.sum(),
        error=error,
        board=board.sum(),
        board_at_means=usual.sum(),
        **tests,
        cover=cover(beyond, tests, run.acts, table, run.boards, run.ply),
        draws=draws,
        seed=seed,
        reference=r.Reference(games.source, len(games), run.means.positions),
    )
