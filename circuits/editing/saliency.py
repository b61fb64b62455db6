"""Latent saliency maps: which squares of the board inside the model a move rests on (Li et al. 2023, section 5).

For a position and a move, every disc in turn is flipped in the checkpoint, by one method of
`circuits.editing.interventions`, and the map's value at its square is how the move's logit (less the mean over the 60
moves) changes. Beside it stand the squares on which the *rules* make the move depend:

    decisive   to flip the disc makes the legal move illegal, or the illegal one legal
    lines      the discs that the move would turn, and those at the ends of their lines (legal moves only)

Decisive squares are what the map is scored against: where two lines make a move legal, no single disc of either
decides it, and a good map is empty there. For legal moves a square counts as found where the logit falls by more than a
threshold; the threshold is chosen for the best F1 on half of the positions and scored on the others. Controls: changes
of equal norm in random directions, and the share of discs that are decisive at all (the precision of any map that
ignores the board).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor

from circuits.bitboards import STEPS, bits_to_bool, flips
from circuits.causes.effects import Ratio, ratio_of_sums
from circuits.editing.board_edits import EditCases, edited_boards
from circuits.editing.interventions import Editor, Method, Pass
from circuits.errors import InputError
from circuits.last_ply import LastPly
from circuits.notation import N_SQUARES, SQUARE_TOKEN
from circuits.othello import Boards, replay

#: edits run at once
ROWS = 200


@dataclass(frozen=True, eq=False)
class SaliencyMaps:
    """Maps of some moves at some positions.

    Attributes:
        position: [map] index of the position; move: [map] the square played.
        effect: [map, 64] change of the move's logit when the disc on a square is flipped; NaN where there is no disc.
        decisive, lines: [map, 64], by the rules.
        legal: [map] whether the move is legal at its position.
        boards: the positions; method: how squares were flipped; control: in random directions.
    """

    position: Int[Tensor, "map"]
    move: Int[Tensor, "map"]
    effect: Float[Tensor, "map 64"]
    decisive: Bool[Tensor, "map 64"]
    lines: Bool[Tensor, "map 64"]
    legal: Bool[Tensor, "map"]
    boards: Boards
    method: Method
    control: bool

    def __len__(self) -> int:
        return len(self.move)


def saliency(
    editor: Editor,
    tokens: Integer[Tensor, "position ply"],
    ply: Int[Tensor, "position"],
    method: Method,
    *,
    moves: Sequence[int] | None = None,
    control: bool = False,
    seed: int = 0,
) -> SaliencyMaps:
    """Maps of the given moves at every position, or of every legal move where none are given.

    Args:
        tokens: transcripts, 0 behind their end; ply: the position in each.
        moves: squares; each must be empty at every position.

    Raises:
        InputError: a method at all plies; a move onto a disc or a centre square; a position where nobody can move.
    """
    editor.check(method)
    if method.plies != "last":
        raise InputError("a saliency map flips at the last ply alone: give a method with plies='last'")
    row = torch.arange(len(tokens))
    behind = torch.arange(tokens.shape[1]) > ply[:, None]
    tokens = tokens.to(torch.uint8).masked_fill(behind, 0)
    boards = replay(tokens)[row, ply]
    if not boards.valid.all():
        i = int((~boards.valid).nonzero()[0])
        raise InputError(f"position {i}: the game is over there, nobody can move")
    occupied = bits_to_bool(boards.occupied)
    for move in moves or ():
        if not 0 <= move < N_SQUARES or not SQUARE_TOKEN[move] or occupied[:, move].any():
            raise InputError(f"square {move} is no move at every position: it holds a disc, or is a centre square")
    whole = torch.zeros(len(tokens), 60, dtype=torch.uint8)
    whole[:, : tokens.shape[1]] = tokens
    position, square = occupied.nonzero().unbind(1)
    logits, legal = _flipped(editor, whole, ply, boards, position, square, method, control, seed)
    base = _relative(LastPly.of(editor.model, whole[:, :59], ply).run()[0][:, 0])

    wanted = bits_to_bool(boards.legal)
    if moves is not None:
        wanted = torch.zeros_like(wanted)
        wanted[:, list(moves)] = True
    at, move = wanted.nonzero().unbind(1)
    token = SQUARE_TOKEN[move] - 1
    change = torch.full((len(tokens), N_SQUARES, 60), torch.nan)
    change[position, square] = logits - base[position]
    now = bits_to_bool(boards.legal)
    turned = torch.zeros(len(tokens), N_SQUARES, N_SQUARES, dtype=torch.bool)
    turned[position, square] = legal ^ now[position]
    return SaliencyMaps(
        at, move, change[at, :, token], turned[at, :, move], _lines(boards[at], move), now[at, move], boards, method,
        control,
    )  # fmt: skip


def _flipped(editor, tokens, ply, boards, position, square, method, control, seed):
    """Logits [flip, move], relative to their mean, and the legal moves [flip, 64] of the flipped boards."""
    found, legal = [], []
    for rows in torch.arange(len(position)).split(ROWS):
        p, s = position[rows], square[rows]
        own = boards[p]
        mine = (own.mine >> s & 1).bool()
        after = torch.where(mine, 1, 2)[:, None]
        cases = EditCases(
            tokens[p], ply[p], s[:, None], after, ("given",) * len(rows), ("",) * len(rows), "every disc flipped"
        )
        first = int(p[0])
        run = LastPly.of(editor.model, tokens[first : int(p[-1]) + 1, :59], ply[first : int(p[-1]) + 1])[p - first]
        edited = editor.run(cases, method, control=control, seed=seed, passes=[Pass(cases, run)])
        found.append(_relative(edited.after))
        legal.append(bits_to_bool(edited_boards(own, s[:, None], after).legal))
    return torch.cat(found), torch.cat(legal)


def _relative(logits: Float[Tensor, "row token"]) -> Float[Tensor, "row move"]:
    moves = logits[:, 1:].float().cpu()
    return moves - moves.mean(-1, keepdim=True)


def _lines(boards: Boards, move: Int[Tensor, "map"]) -> Bool[Tensor, "map 64"]:
    """The discs a move turns and the discs at the far ends of their lines."""
    turned = flips(boards.mine, boards.theirs, move)
    found = bits_to_bool(turned)
    turned_at = found.clone()
    for step in STEPS.values():
        down = (step + 9) // 8 - 1
        right = step - 8 * down
        row, column = move // 8 + down, move % 8 + right
        on = torch.ones(len(move), dtype=torch.bool)
        passed = torch.zeros_like(on)
        for _ in range(7):
            inside = (row >= 0) & (row < 8) & (column >= 0) & (column < 8)
            here = (row * 8 + column).clamp(0, 63)
            is_turned = inside & on & turned_at[torch.arange(len(move)), here]
            end = inside & on & ~is_turned & passed
            found[end, here[end]] = True
            passed |= is_turned
            on &= is_turned
            row, column = row + down, column + right
    return found


@dataclass(frozen=True)
class SaliencyScore:
    """How well maps of legal moves find the decisive squares, on positions that the threshold was not chosen on.

    Attributes:
        positions, maps: held out; threshold: the fall of the logit above which a square counts as found.
        precision, recall, f1: over all discs of all maps; `Ratio` s with intervals over positions (one a game).
        average_precision: area under precision and recall over all thresholds.
        base_rate: the share of discs that are decisive.
        lines_precision: the share of squares found that lie on a line of the move at all.
        control: the same figures of random directions: precision, recall, f1, average precision.
    """

    positions: int
    maps: int
    threshold: float
    precision: Ratio
    recall: Ratio
    f1: float
    average_precision: float
    base_rate: float
    lines_precision: float
    control: tuple[float, float, float, float]


def score_maps(maps: SaliencyMaps, control: SaliencyMaps) -> SaliencyScore:
    """Choose a threshold on the even positions, score on the odd ones; the control chooses its own.

    Raises:
        InputError: maps of illegal moves; no decisive square on either half.
    """
    if not maps.legal.all():
        raise InputError("only maps of legal moves are scored: a fall of the logit means something there alone")
    disc = ~torch.isnan(maps.effect)
    held = maps.position % 2 == 1
    if not (maps.decisive & disc)[held].any() or not (maps.decisive & disc)[~held].any():
        raise InputError("too few positions to score: no decisive square on one half of them; give more")

    def figures(of: SaliencyMaps) -> tuple[float, Tensor, Tensor]:
        fall = -of.effect
        threshold = _best_threshold(fall[~held][disc[~held]], of.decisive[~held][disc[~held]])
        return threshold, (fall > threshold) & disc, fall

    def plain(found: Tensor, fall: Tensor) -> tuple[float, float, float, float]:
        hit = float((found & maps.decisive)[held].sum())
        precision, recall = hit / max(1.0, float(found[held].sum())), hit / float(maps.decisive[held].sum())
        f1 = 2 * precision * recall / max(1e-12, precision + recall)
        return precision, recall, f1, _average_precision(fall[held][disc[held]], maps.decisive[held][disc[held]])

    threshold, found, fall = figures(maps)
    *_, f1, average = plain(found, fall)
    by_position = maps.position[held] // 2
    n = int(by_position.max()) + 1

    def sums(of: Tensor) -> Tensor:
        return torch.zeros(n, dtype=torch.float64).index_add_(0, by_position, of[held].sum(1).double())

    hits, called, true = sums(found & maps.decisive), sums(found), sums(maps.decisive & disc)
    _, control_found, control_fall = figures(control)
    return SaliencyScore(
        positions=len(maps.position[held].unique()),
        maps=int(held.sum()),
        threshold=threshold,
        precision=ratio_of_sums(hits, called),
        recall=ratio_of_sums(hits, true),
        f1=f1,
        average_precision=average,
        base_rate=float(maps.decisive[held].sum() / disc[held].sum()),
        lines_precision=float((found & maps.lines)[held].sum() / found[held].sum().clamp_min(1)),
        control=plain(control_found, control_fall),
    )


def _best_threshold(fall: Float[Tensor, "disc"], true: Bool[Tensor, "disc"]) -> float:
    order = fall.argsort(descending=True)
    hits = true[order].double().cumsum(0)
    f1 = 2 * hits / (torch.arange(1, len(hits) + 1) + true.sum())
    best = int(f1.argmax())
    after = fall[order[best + 1]] if best + 1 < len(order) else fall[order[best]] - 1
    return float((fall[order[best]] + after) / 2)


def _average_precision(fall: Float[Tensor, "disc"], true: Bool[Tensor, "disc"]) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(true.numpy(), fall.numpy()))
