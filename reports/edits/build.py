"""From a model and an edit to its record: one position, before and after, beside random directions of equal norm."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from circuits.bitboards import bits_to_bool
from circuits.board_readers import BoardReader
from circuits.editing import interventions
from circuits.editing.board_edits import ACTIONS, STATES, EditCases
from circuits.editing.interventions import Editor, Method
from circuits.editing.saliency import SaliencyMaps, saliency
from circuits.editing.scores import ideal, score
from circuits.errors import InputError
from circuits.last_ply import LastPly
from circuits.notation import CENTRE, LABELS, PLAYABLE, SQUARE_TOKEN, TOKEN_SQUARE, Notation, print_transcript
from circuits.othello_model import OthelloModel
from probes.sets import ProbeSet
from reports.edits.records import (
    LAYER_NORM,
    EditPosition,
    EditRecord,
    Figure,
    MoveRow,
    SaliencyRecord,
    SideEffects,
    SquareEdit,
    SquareReading,
    Written,
)
from reports.patching.records import origin

#: random directions that every figure stands beside
SEEDS = 20
#: moves of more than this probability are listed
SHOWN = 0.01
ILLEGAL = "illegal"


def edit_record(
    editor: Editor,
    cases: EditCases,
    method: Method | None = None,
    *,
    moves: Sequence[int] | None = None,
    notation: Notation = "ours",
    seeds: int = SEEDS,
    seed: int = 0,
    probe_source: str = "",
    command: str = "",
    python: str = "",
) -> EditRecord:
    """Make the edit of one case and describe it.

    Args:
        method: the default where none is given.
        moves: squares whose saliency maps are drawn; by default the move whose probability changes most.
        notation: of squares in error messages.
        seeds: how many random directions stand beside; seed: the first of them.

    Raises:
        InputError: not one case; as `Editor.check`; a move that is none at this position.
    """
    if len(cases) != 1:
        raise InputError(f"{len(cases)} cases: a page is of one edit")
    default = interventions.default(editor.model)
    method = method or default
    check_moves(cases, moves or (), notation)
    points = reading_points(editor)
    edits, made = editor.edits(cases, method)
    before, read_before, stream = _run(editor, cases, method, [], points, [hook for hook, _ in edits])
    after, read_after, _ = _run(editor, cases, method, edits, points)
    n = 0 if method.plies == "last" else int(cases.ply)
    changes = dict(made)
    random_logits, random_read = [], []
    for draw in range(seed, seed + seeds):
        controls = [(hook, interventions.random_directions(changes[hook], cases, hook, draw)) for hook, _ in edits]
        logits, read, _ = _run(editor, cases, method, controls, points)
        random_logits.append(logits)
        random_read.append(read)
    controls = torch.cat(random_logits)
    boards, edited = cases.boards, cases.edited
    old, new = (bits_to_bool(b.legal)[0] for b in (boards, edited))
    p_before, p_after, p_random = (x.float().softmax(-1).cpu() for x in (before, after, controls))
    tokens = cases.tokens[0, : int(cases.ply) + 1]
    used = cases.square[0] >= 0
    squares = cases.square[0][used].tolist()
    norms = {hook: float(changes[hook][0, n].norm()) for hook, _ in edits}
    flat = replace(method, plies="last")
    rows = _moves(old, new, p_before[0], p_after[0], p_random.mean(0))
    return EditRecord(
        version=EditRecord.VERSION,
        transcript=print_transcript(TOKEN_SQUARE[tokens.long()].tolist()),
        ply=int(cases.ply),
        mover="black" if boards.black_to_move else "white",
        last=LABELS[int(TOKEN_SQUARE[int(tokens[-1])])],
        flipped=tuple(_labels(boards.flipped)),
        edits=tuple(
            SquareEdit(LABELS[s], ACTIONS[int(a)], STATES[int(b)], STATES[int(c)])
            for s, a, b, c in zip(
                squares, cases.action[0][used], cases.before[0][used], cases.after[0][used], strict=True
            )
        ),
        method=str(method),
        is_default=method == default,
        plies=method.plies,
        solve=method.solve,
        before=_position(boards),
        after=_position(edited),
        probabilities_before=_on_board(p_before[0]),
        probabilities_after=_on_board(p_after[0]),
        moves=rows,
        figures=_figures(before, after, controls, cases),
        seeds=seeds,
        readings={
            LABELS[s]: tuple(
                _reading(point, read_before[point][s], read_after[point][s], int(state)) for point in points
            )
            for s, state in zip(squares, cases.after[0][used], strict=True)
        },
        side_effects=tuple(
            _side_effects(point, read_before[point], read_after[point], [r[point] for r in random_read], cases)
            for point in points
        ),
        written=tuple(Written(hook, norms[hook], norms[hook] / float(stream[hook].norm())) for hook, _ in edits),
        saliency_method=str(flat),
        saliency=_saliency(editor, cases, flat, moves, rows, seed),
        probe_source=probe_source,
        origin=origin(editor.model, seed, command, python, LAYER_NORM),
    )


def check_moves(cases: EditCases, moves: Sequence[int], notation: Notation = "ours") -> None:
    """Refuse a saliency map of a move onto a disc or a centre square.

    Raises:
        InputError: which square, and why.
    """
    for square in moves:
        name = print_transcript([square], notation)
        if square in CENTRE:
            raise InputError(f"{name} is a centre square, where nobody plays: give a saliency map's move elsewhere")
        if int(cases.boards.occupied) >> square & 1:
            raise InputError(
                f"{name} holds a disc at ply {int(cases.ply)}: a saliency map is of a move to an empty square"
            )


def reading_points(editor: Editor) -> list[str]:
    """Where the board is read: after every layer that has a linear reader there."""
    points = [f"blocks.{layer}.hook_resid_post" for layer in range(editor.model.shape.n_layers)]
    return [point for point in points if isinstance(editor.readers.get(point), BoardReader)]


def _run(
    editor: Editor, cases: EditCases, method: Method, edits: list, points: list[str], save: Sequence[str] = ()
) -> tuple[Float[Tensor, "1 token"], dict[str, Float[Tensor, "64 3"]], dict[str, Tensor]]:
    """Logits, readings and saved activations of the case's last ply."""
    model: OthelloModel = editor.model
    names = [*points, *save]
    if method.plies == "last":
        logits, saved = LastPly.of(model, cases.tokens[:, :59], cases.ply).run(edits, names)
        at = 0
    else:
        at = int(cases.ply)
        logits, saved = model.run(cases.tokens[:, : at + 1].long(), save=names, edit=edits)
    streams = {name: saved[name][0, at].flatten() for name in names}
    return logits[:, at], {p: editor.readers[p](streams[p]).float().cpu() for p in points}, streams


def _figures(before: Tensor, after: Tensor, controls: Tensor, cases: EditCases) -> dict[str, Figure]:
    one = [score(x[None], cases) for x in (before[0], after[0], *controls)]
    perfect = ideal(cases)
    illegal = ~torch.cat([torch.zeros(1, dtype=torch.bool), bits_to_bool(cases.edited.legal)[0][list(PLAYABLE)]])
    for values, logits in zip(one, (before[0], after[0], *controls), strict=True):
        values[ILLEGAL] = logits.float().softmax(-1).cpu()[illegal].sum()[None]
    perfect[ILLEGAL] = torch.zeros(1)
    found = {}
    for name, best in perfect.items():
        values = [float(each[name]) for each in one]
        random = values[2:]
        found[name] = Figure(values[0], values[1], sum(random) / len(random), min(random), max(random), float(best))
    return found


def _moves(old: Tensor, new: Tensor, before: Tensor, after: Tensor, random: Tensor) -> tuple[MoveRow, ...]:
    rows = []
    for s in PLAYABLE:
        t = int(SQUARE_TOKEN[s])
        if old[s] or new[s] or before[t] > SHOWN or after[t] > SHOWN:
            share = float(new[s]) / int(new.sum())
            rows.append(
                MoveRow(LABELS[s], bool(old[s]), bool(new[s]), *(float(p[t]) for p in (before, after, random)), share)
            )
    # Gained, lost, kept, never legal; within each the largest first.
    order = {(False, True): 0, (True, False): 1, (True, True): 2, (False, False): 3}
    return tuple(sorted(rows, key=lambda r: (order[r.legal_before, r.legal_after], -max(r.before, r.after))))


def _reading(point: str, before: Tensor, after: Tensor, state: int) -> SquareReading:
    def log_odds(x: Tensor) -> float:
        others = [c for c in range(3) if c != state]
        return float(x[state] - x[others].logsumexp(0))

    p, q = before.softmax(-1), after.softmax(-1)
    return SquareReading(point, tuple(p.tolist()), tuple(q.tolist()), log_odds(before), log_odds(after))


def _side_effects(point: str, before: Tensor, after: Tensor, random: list[Tensor], cases: EditCases) -> SideEffects:
    other = torch.ones(64, dtype=torch.bool)
    other[cases.square[0][cases.square[0] >= 0]] = False
    was, now = before.argmax(-1), after.argmax(-1)
    true = torch.tensor(_position(cases.boards).board)
    drawn = [int((r.argmax(-1) != was)[other].sum()) for r in random]
    return SideEffects(
        point, int((now != was)[other].sum()), sum(drawn) / len(drawn), int((was != true)[other].sum()),
        int((now != true)[other].sum()),
    )  # fmt: skip


def _saliency(
    editor: Editor, cases: EditCases, method: Method, moves: Sequence[int] | None, rows: Sequence[MoveRow], seed: int
) -> tuple[SaliencyRecord, ...]:
    asked = bool(moves)
    if not moves:
        empty = bits_to_bool(cases.boards.empty)[0]
        able = [r for r in rows if (r.legal_before or r.legal_after) and empty[LABELS.index(r.move)]]
        if not able:
            return ()
        moves = [LABELS.index(max(able, key=lambda r: abs(r.after - r.before)).move)]
    moves = list(dict.fromkeys(moves))
    ply = cases.ply
    maps, control = (
        saliency(editor, cases.tokens, ply, method, moves=moves, control=control, seed=seed)
        for control in (False, True)
    )
    row = {int(move): i for i, move in enumerate(maps.move)}
    return tuple(_map(maps, control, row[move], asked) for move in moves)


def _map(maps: SaliencyMaps, control: SaliencyMaps, i: int, asked: bool) -> SaliencyRecord:
    effect = maps.effect[i]
    disc = ~torch.isnan(effect)
    decisive, other = maps.decisive[i] & disc, ~maps.decisive[i] & disc

    def mean(of: Tensor, where: Tensor) -> float | None:
        return float(of[where].mean()) if where.any() else None

    return SaliencyRecord(
        move=LABELS[int(maps.move[i])],
        legal=bool(maps.legal[i]),
        asked=asked,
        effect=tuple(float(v) if known else None for v, known in zip(effect, disc, strict=True)),
        decisive=tuple(LABELS[s] for s in decisive.nonzero().flatten().tolist()),
        lines=tuple(LABELS[s] for s in maps.lines[i].nonzero().flatten().tolist()),
        mean_decisive=mean(effect, decisive),
        mean_other=mean(effect, other),
        random_decisive=mean(control.effect[i], decisive),
        random_other=mean(control.effect[i], other),
    )


def _labels(bits: Tensor) -> list[str]:
    return [LABELS[s] for s in bits_to_bool(bits.flatten())[0].nonzero().flatten().tolist()]


def _position(boards) -> EditPosition:
    mine, theirs = (bits_to_bool(b)[0] for b in (boards.mine, boards.theirs))
    return EditPosition(tuple((2 * mine + 1 * theirs).tolist()), tuple(_labels(boards.legal)))


def _on_board(p: Float[Tensor, "token"]) -> tuple[float | None, ...]:
    return tuple(float(p[int(SQUARE_TOKEN[s])]) if s not in CENTRE else None for s in range(64))


def probe_words(probes: ProbeSet) -> str:
    """How the probes were made, in a few words."""
    used = probes.about.get("games", {})
    return (
        f"linear, {probes.about.get('method', 'by an unstated method')}, trained on "
        f"{used.get('used', 'an unstated number of')} games ({used.get('source', 'source not stated')})"
    )
