"""The checkpoint edited so that one fact of a rule fails, before the subject reads it: does the subject follow?

At held-out positions where the rule holds, and turns on the fact, the stream is changed at the last ply so that the
board probe reads the fact's square as another state (`circuits.editing.interventions`, "class mean" at strength 1: the
square's coordinates become the mean of that state at that ply). All later layers and LayerNorms are recomputed.

    empty -> mine, theirs      mine -> theirs, empty      theirs -> mine, empty      occupied -> empty
    black, white: as mine or theirs of the side to move      where two states do it, the mean over both

just before  a neuron is edited for in the middle of its layer, a set in that of each of its layers, a head after the
             layer before its own, a direction at the point before its own
early        a late subject may no longer read the board, but what others made of it: so, at fewer places, after every
             layer too from where the model keeps the board (3/8 of its depth) up to the subject's
random       changes of the same norms in random directions, one a position
elsewhere    the same change of state on a random other square, of which the rule says nothing
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuits.causes.effects import summarise
from circuits.directions import unit
from circuits.editing.board_edits import STATES
from circuits.editing.interventions import Editor, Method
from circuits.errors import InputError
from circuits.features import board_state
from circuits.last_ply import LastPly
from circuits.notation import CENTRE, LABELS
from circuits.rules.atoms import Atom, Line, Literal
from circuits.rules.formulas import Rule
from circuits.verdicts.pair_search import value
from circuits.verdicts.places import Places, Run
from circuits.verdicts.records import BoardEdit, Estimate
from circuits.verdicts.scores import FLIPS, holm
from circuits.verdicts.senders import scaled
from circuits.verdicts.subjects import Subject

#: places of an early edit
EARLY = 100
#: of those, run at once
_ROWS = 60
#: literals that are states of a square, which the board probe reads
READ = ("empty", "mine", "theirs", "occupied", "black", "white")


def method(subject: Subject) -> Method | None:
    """How the checkpoint is edited before a subject; None where there is no point before it."""
    if subject.kind in ("neuron", "set"):
        return Method("class mean", 1.0, tuple(sorted({node.layer for node in subject.nodes})), point="mid")
    node = subject.nodes[0]
    kind, layer = ("post", node.layer - 1) if node.kind == "pre" else (node.kind, node.layer)
    if kind == "post" and layer >= 0:
        return Method("class mean", 1.0, (layer,), point="mid")
    # A head reads what the layer before wrote; so does the stream in the middle of a layer.
    return Method("class mean", 1.0, (layer - 1,)) if layer > 0 else None


def early(subject: Subject) -> Method | None:
    """The edit at every layer from 3/8 of the model's depth on; None for a subject that does not come after those."""
    end = min(node.layer - (node.kind == "pre") for node in subject.nodes)
    layers = tuple(range(round(3 * subject.model.shape.n_layers / 8), end))
    how = Method("class mean", 1.0, layers)
    return how if layers and how != method(subject) else None


def board_edits(
    editor: Editor | None, subject: Subject, rule: Rule, places: Places, gap: float, seed: int = 0
) -> tuple[BoardEdit, ...]:
    """For each atom of the rule the edit just before the subject, with figures or with the reason why there are none;
    then the early ones.

    Args:
        places: those where the rule holds are edited.
        gap: the activation's mean where the rule holds less that where it fails.
    """
    how = method(subject)
    why = "" if how else f"{subject.name} reads the embedding, of which there is no board probe"
    why = why or _cannot(editor, how)
    boards = places.games.boards()
    truth = {atom: atom._holds(boards)[places.row, places.ply] for atom in rule.atoms}
    asked = {atom: why or _changes(atom, rule, truth, places) for atom in rule.atoms}
    effects: list[tuple[Atom, Method | None, _Effect | None]] = []
    for which in (how, early(subject)):
        known = {atom: changes for atom, changes in asked.items() if isinstance(changes, Changes)}
        if which is not how and (which is None or not known or _cannot(editor, which)):
            continue
        runs = [] if not known else places.runs(True) if which is how else _recorded(places)
        for i, atom in enumerate(rule.atoms):
            if atom in known:
                made = _edited(editor, which, subject, rule, places, runs, known[atom], seed + i)
                effects.append((atom, which, made))
            elif which is how:
                effects.append((atom, how, None))
    p = [effect.p for _, _, effect in effects if effect]
    family = iter(holm(torch.tensor(p, dtype=torch.float64)).tolist())
    return tuple(
        _record(atom, which, asked[atom], effect, round(next(family), 6) if effect else None, gap)
        for atom, which, effect in effects
    )


def _cannot(editor: Editor | None, how: Method) -> str:
    """Why the checkpoint cannot be edited so."""
    if editor is None:
        return "there is no editor of the checkpoint: it takes the model's board probes"
    try:
        editor.check(how)
    except InputError as error:
        return str(error)
    return ""


def _recorded(places: Places) -> list[Run]:
    """The first places where the rule holds, recorded from the first block on."""
    rows = places.holds.nonzero()[:EARLY, 0]
    rows = rows[places.ply[rows].argsort(stable=True)]
    tokens = places.tokens
    return [Run(own, LastPly.of(places.model, tokens[own], places.ply[own])) for own in rows.split(_ROWS)]


@dataclass(frozen=True, eq=False)
class Changes:
    """Other states of a square by which one atom changes and no other one.

    Attributes:
        now: [place], the square's state; to: [place, state], which states do it.
    """

    square: int
    now: Int[Tensor, "place"]
    to: Bool[Tensor, "place 3"]

    @property
    def words(self) -> str:
        """ "C0 empty -> theirs, mine"."""
        rows = self.to.any(1)
        before = " or ".join(STATES[s] for s in self.now[rows].unique().tolist())
        return f"{LABELS[self.square]} {before} -> {', '.join(STATES[s] for s in self.states)}"

    @property
    def states(self) -> list[int]:
        return self.to.any(0).nonzero()[:, 0].tolist()


def is_so(name: str, state: int, black: Bool[Tensor, "place"]) -> Bool[Tensor, "place"]:
    """Whether a literal of `READ` holds of a square in a state (empty, theirs, mine), where black moves or not."""
    if name in ("black", "white"):
        mover = black if name == "black" else ~black
        return mover if state == 2 else ~mover if state == 1 else torch.zeros_like(black)
    return torch.full_like(black, STATES[state] == name or (name == "occupied" and state > 0))


def _changes(atom: Atom, rule: Rule, truth: dict, places: Places) -> Changes | str:
    """The states to write at each place, or why there are none."""
    if isinstance(atom, Line):
        return "a pattern is of several squares: write it as facts on them, each of which can be edited"
    if not isinstance(atom, Literal):
        return "the board probe reads single squares, nothing of this kind"
    if atom.back:
        return "the board probe reads the board as it is now"
    if atom.name not in READ:
        return f"the board probe does not read which squares are {atom.name}"
    others = [
        one for one in rule.atoms
        if isinstance(one, Literal) and one.square == atom.square and one.name in READ and not one.back and one != atom
    ]  # fmt: skip
    black, now = places.boards.black_to_move, board_state(places.boards)[:, atom.square].long()
    turns = places.holds & ~value(rule, truth | {atom: ~truth[atom]})
    if not turns.any():
        return f"at none of {int(places.holds.sum())} positions does the rule turn on {atom} alone"
    to = torch.zeros(len(now), len(STATES), dtype=torch.bool)
    for state in range(len(STATES)):
        if state == 0 and atom.square in CENTRE:
            continue
        changed = is_so(atom.name, state, black) != truth[atom]
        kept = [is_so(one.name, state, black) == truth[one] for one in others]
        to[:, state] = torch.stack([turns, now != state, changed, *kept]).all(0)
    if not to.any():
        return f"no other state of {LABELS[atom.square]} changes {atom} alone"
    return Changes(atom.square, now, to)


@dataclass(frozen=True, eq=False)
class _Effect:
    """Changes of the scalar, [row]: of the edit, and of its two controls; ``group`` of each row's game."""

    edit: Float[Tensor, "row"]
    random: Float[Tensor, "row"]
    elsewhere: Float[Tensor, "other"]
    group: Int[Tensor, "row"]
    group_elsewhere: Int[Tensor, "other"]

    @property
    def p(self) -> float:
        """Of the edit against the random change, paired."""
        return round(float(summarise(self.edit - self.random, self.group, flips=FLIPS).p), 6)


def _edited(
    editor: Editor, how: Method, subject: Subject, rule: Rule, places: Places, runs: Sequence[Run], asked: Changes,
    seed: int,
) -> _Effect | None:  # fmt: skip
    """Edit places where the rule holds; those where the fact cannot be changed alone are left out."""
    generator = torch.Generator().manual_seed(seed)
    states, scalar = asked.states, subject.scalar(places.values)
    other = _others(rule, places, asked, generator)
    parts = []
    for run in runs:
        rows, n = run.rows, (len(run.rows), len(states))
        before, after = asked.now[rows][:, None, None].expand(*n, 1), torch.tensor(states)[None, :, None].expand(*n, 1)
        on, ply = asked.to[rows][:, states], places.ply[rows][:, None].expand(n)

        def changed(edits, run=run, n=n, on=on, rows=rows) -> Tensor:
            _, saved = run.last.run(edits, subject.hooks, variants=n[1], start_at=min(how.layers))
            now = subject.scalar(subject.values(saved)).cpu() - scalar[rows][:, None]
            return (now * on).sum(1) / on.sum(1).clamp_min(1)

        def written(square: Tensor, on: Tensor, before=before, after=after, ply=ply) -> tuple[list, dict]:
            return editor.edits_at(square[:, None], before, after, on[..., None], ply, how)

        edits, made = written(torch.full_like(rows, asked.square), on)
        effect = changed(edits)
        control = changed([(hook, _random(change, generator)) for hook, change in made.items()])
        there = other[rows]
        elsewhere = changed(written(there.clamp_min(0), on & (there >= 0)[:, None])[0])
        usable = on.any(1)
        parts.append((rows[usable], effect[usable], control[usable], elsewhere[usable], there[usable] >= 0))
    rows, effect, control, elsewhere, has = (torch.cat(column) for column in zip(*parts, strict=True))
    if not len(rows):
        return None
    group = places.group[rows]
    return _Effect(effect, control, elsewhere[has], group, group[has])


def _others(rule: Rule, places: Places, asked: Changes, generator: torch.Generator) -> Int[Tensor, "place"]:
    """At each place a random square in the same state of which the rule says nothing; -1 where there is none."""
    free = board_state(places.boards).long() == asked.now[:, None]
    free[:, sorted({*CENTRE, *_squares(rule)})] = False
    chosen = (torch.rand(free.shape, generator=generator) * free).argmax(1)
    return torch.where(free.any(1), chosen, -1)


def _squares(rule: Rule) -> Iterator[int]:
    for atom in rule.atoms:
        if isinstance(atom, Literal):
            yield atom.square
        elif isinstance(atom, Line):
            yield from (atom.pattern.square, *atom.pattern.squares())


def _random(change: Float[Tensor, "row variant d_model"], generator: torch.Generator):
    """Changes of as much in random directions, centred as everything on the stream."""
    direction = unit(torch.randn(change.flatten(0, 1).shape, generator=generator)).view(change.shape).to(change)
    add = change.norm(dim=-1, keepdim=True) * direction
    return lambda x, _: x + add


def _record(
    atom: Atom, how: Method | None, asked: Changes | str, effect: _Effect | None, family: float | None, gap: float
) -> BoardEdit:
    if effect is None:
        reason = asked if isinstance(asked, str) else "at none of the places can it be changed alone"
        return BoardEdit(str(atom), "", 0, 0, None, None, None, None, None, reason)

    def said(x: Tensor, group: Tensor, by: float) -> Estimate | None:
        if not len(x):
            return None
        s = summarise(x, group)
        return scaled(float(s.mean), float(s.low), float(s.high), by)

    return BoardEdit(
        str(atom), asked.words, len(effect.edit), len(effect.group.unique()), said(effect.edit, effect.group, 1.0),
        said(effect.edit, effect.group, -gap), said(effect.random, effect.group, -gap), effect.p, family,
        elsewhere=said(effect.elsewhere, effect.group_elsewhere, -gap), where=where(how),
    )  # fmt: skip


def where(how: Method) -> str:
    """ "L7 mid", "L3-L6": at which layers, and where in them."""
    return str(how).split(", ", 1)[1]
