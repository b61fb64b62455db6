"""The position, the board as each point reads it, the logit lens and the parts of the logit, as records."""

from collections.abc import Sequence

import torch
from torch import Tensor

from circuits.bitboards import bits_to_bool
from circuits.explanation import lines as rules
from circuits.explanation import records as r
from circuits.explanation.contributions import Contributions
from circuits.explanation.run import Run, rank, relative
from circuits.notation import LABELS, TOKEN_SQUARE, label, print_transcript

#: illegal moves of more than this probability are listed
SHOWN = 0.01


def lines_of(board: tuple[int, ...], square: int) -> tuple[r.Line, ...]:
    if board[square]:
        return ()
    return tuple(
        r.Line(direction, tuple(LABELS[s] for s in row), None if end is None else LABELS[end], holds)
        for direction, row, end, holds in rules.lines(board, square)
    )


def position_of(run: Run) -> r.Position:
    boards = run.boards[0, run.ply]

    def labels(bits: Tensor) -> tuple[str, ...]:
        return tuple(LABELS[s] for s in bits_to_bool(bits.flatten())[0].nonzero().flatten().tolist())

    played = [int(TOKEN_SQUARE[int(t)]) for t in run.tokens]
    return r.Position(
        transcript=print_transcript(played),
        ply=run.ply,
        mover="black" if boards.black_to_move else "white",
        last=label(played[-1]),
        flipped=labels(boards.flipped),
        board=run.board,
        legal=labels(boards.legal),
    )


def moves_of(run: Run, logits: Tensor, probabilities: Tensor) -> tuple[r.MoveRow, ...]:
    legal = bits_to_bool(run.boards.legal)[0, run.ply]
    rows = []
    for at in range(60):
        square = int(TOKEN_SQUARE[at + 1])
        if legal[square] or probabilities[at] > SHOWN:
            held = tuple(line for line in lines_of(run.board, square) if line.holds)
            rows.append(
                r.MoveRow(
                    LABELS[square], bool(legal[square]), float(probabilities[at]), float(run.means.probabilities[at]),
                    float(logits[at]), held,
                )
            )  # fmt: skip
    return tuple(sorted(rows, key=lambda row: -row.probability))


def rests_of(run: Run, resting: Sequence[tuple[int, str]]) -> tuple[r.Rest, ...]:
    read = {p: reader(run.saved[p][0, run.ply]).softmax(-1) for p, reader in run.readers.items()}
    return tuple(
        r.Rest(LABELS[s], rules.STATES[run.board[s]], role, tuple(float(x[s, run.board[s]]) for x in read.values()))
        for s, role in resting
    )


def readings_of(run: Run) -> tuple[r.BoardReading, ...]:
    truth, found = torch.tensor(run.board), []
    for point, reader in run.readers.items():
        read = reader.read(run.saved[point][0, run.ply]).cpu()
        found.append(r.BoardReading(point, tuple(read.tolist()), int((read == truth).sum()), run.means.right[point]))
    return tuple(found)


def lens_of(run: Run, at: int) -> tuple[r.LensRow, ...]:
    legal = bits_to_bool(run.boards.legal)[0, run.ply][TOKEN_SQUARE[1:]]
    found = []
    for layer in range(run.model.shape.n_layers):
        x = run.saved[f"blocks.{layer}.hook_resid_post"][0, run.ply]
        normal = torch.nn.functional.layer_norm(x, x.shape, eps=run.model.shape.eps)
        logits = normal @ run.model.W_U + run.model.b_U
        own = relative(logits)
        likeliest = own.topk(int(legal.sum())).indices
        p = float(logits.double().softmax(-1)[1 + at])
        found.append(r.LensRow(layer, p, float(own[at]), rank(own, at), int(legal[likeliest].sum())))
    return tuple(found)


def parts_of(own: Contributions, beyond: Contributions) -> tuple[r.Part, ...]:
    rows = [r.Part("embedding", own.embed, beyond.embed), r.Part("position", own.place, beyond.place)]
    for layer in range(len(own.neurons)):
        for name, table in (("attention", "heads"), ("MLP", "neurons")):
            pair = (float(getattr(x, table)[layer].sum()) for x in (own, beyond))
            rows.append(r.Part(f"L{layer} {name}", *pair))
    return (*rows, r.Part("biases", own.biases, beyond.biases))
