"""Writing an edited board into the model: the stream at some layers is changed so that a square reads otherwise.

With x the stream at a point, u the unit directions of a square there (`circuits.board_readers`: colour and emptiness),
a the state a square is to have and b the one it has (classes empty, theirs, mine):

    negate             x.u -> -s x.u                          the seed study's (its "scale"; 0 takes the coordinate out)
    absolute           x.u -> +s, -s or 0, as a has it        the seed study's own suggestion
    class mean         x.u -> m + s (mean of a - m)           m midway between the means of a and b
    contrast           x + s (x_a - x_b) of one pair of games that differ in the square   activation addition (Turner et
                       al. 2023, arXiv 2308.10248)
    target vector      x + s (unit class vector of a)         the released recipe of Nanda et al. 2023, arXiv 2309.00941
    mean difference    x + s (mean of x where a - where b)    the ply's mean taken out (`circuits.editing.stream_means`)
    gradient           Adam steps of size s on x, down the cross-entropy of the edited square, and of every other one
                       staying as it reads (Li et al. 2023, arXiv 2210.13382); any callable reader, linear or not
    head shift         z_h + s sigma theta                    in the heads whose outputs tell a from b best; theta the
                       mean difference of unit norm, sigma the output's spread along it (ITI; 2306.03341)

The first three move coordinates: those of all edited squares at once by least squares (the shortest change that does
it, for directions are not orthogonal), one after another, or holding all other squares' coordinates. At several layers
the edit is made anew at each. LayerNorm and all that follows are recomputed. The random control gives every change the
same norm in a random direction. Results are the same for any batch to rounding; gradient descent enlarges that
where a layer has little left to do (probabilities then agree to some thousandths).

An edit to what a square is already: "class mean" writes that class's mean (s = 1), absolute, target vector and gradient
write as ever, the others nothing. `circuits.editing.benchmark` says how little the winner then moves.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from circuits.editing import changes as edit_changes
from circuits.editing.board_edits import EditCases
from circuits.editing.changes import Ground, Here
from circuits.errors import InputError
from circuits.games import transcript_hash
from circuits.hashing import mix64
from circuits.last_ply import Edit, LastPly
from circuits.othello_model import OthelloModel
from circuits.plain import of

METHODS = tuple(edit_changes.CHANGES)
SOLVES = ("joint", "in turn", "hold others")
#: a strength beyond which float32 holds no stream
STRONGEST = 1e6
#: cases run at once
BATCH = 100


@dataclass(frozen=True)
class Method:
    """One way of writing an edit.

    Attributes:
        name: of `METHODS`.
        strength: s of the formula above.
        layers: where; at each layer's ``point``.
        point: ``"post"``, after the layer, or ``"mid"``, in its middle (to add to ``attn_out`` is to add there).
        plies: ``"last"``, the position edited, or ``"all"``, every ply up to it at which there is something to edit.
        solve: of `SOLVES`, for methods that move coordinates.
        reader: read with the probe after this layer at every point, in place of each point's own.
        heads: of a head shift, how many; steps: of gradient descent, how many at each layer.
    """

    name: str
    strength: float
    layers: tuple[int, ...]
    point: str = "post"
    plies: str = "last"
    solve: str = "joint"
    reader: int | None = None
    heads: int = 8
    steps: int = 20

    def __post_init__(self) -> None:
        for given, known, what in (
            (self.name, METHODS, "method"), (self.point, ("post", "mid"), "point"),
            (self.plies, ("last", "all"), "choice of plies"), (self.solve, SOLVES, "way to solve"),
        ):  # fmt: skip
            if given not in known:
                raise InputError(f"{given!r} is no {what} of an edit: {', '.join(known)}")
        if not isinstance(self.strength, int | float) or not 0 <= self.strength <= STRONGEST:
            raise InputError(f"strength {self.strength}: give a number from 0 to {STRONGEST:g}")
        if self.heads < 1 or self.steps < 1:
            raise InputError(f"{self.heads} heads and {self.steps} steps: give at least 1")
        if not isinstance(self.layers, Sequence) or not all(isinstance(layer, int) for layer in self.layers):
            raise InputError(f"layers {self.layers!r}: give their numbers, such as (3, 4)")
        object.__setattr__(self, "layers", tuple(self.layers))

    def __str__(self) -> str:
        where = _spans(self.layers) + (" mid" if self.point == "mid" else "")
        if self.name == "head shift":
            where = f"{self.heads} heads of {_spans(self.layers)}"
        more = [f"by the L{self.reader} probe"] if self.reader is not None else []
        more += [self.solve] if self.solve != "joint" else []
        more += ["all plies"] if self.plies == "all" else []
        return ", ".join([f"{self.name} x{self.strength:g}", where, *more])

    def hook(self, layer: int) -> str:
        """Where the stream, or the heads' output, is changed in a layer."""
        return f"blocks.{layer}.attn.hook_z" if self.name == "head shift" else f"blocks.{layer}.hook_resid_{self.point}"


@dataclass(frozen=True, eq=False)
class Edited:
    """Logits at the edited position, before and after, and how large the changes were.

    Attributes:
        cases: what was edited; method: how; control: whether in random directions instead.
        before, after: [case, token].
        norm, share: by hook, [case]: the change's norm at the last ply, and as a share of the stream's (or output's).
    """

    cases: EditCases
    method: Method
    control: bool
    before: Float[Tensor, "case token"]
    after: Float[Tensor, "case token"]
    norm: dict[str, Float[Tensor, "case"]]
    share: dict[str, Float[Tensor, "case"]]


@dataclass(frozen=True, eq=False)
class Pass:
    """Some cases and their unedited pass."""

    cases: EditCases
    last: LastPly | None


class Editor:
    """A model with what its edits are made of.

    Args:
        model: any.
        readers: by hook, a callable stream -> logits [..., square, class]; `BoardReader` s for methods that need
            directions, any differentiable one for gradient descent.
        ground: means and contrast pairs, for methods that need them.
    """

    def __init__(self, model: OthelloModel, readers: Mapping[str, Callable], ground: Ground | None = None):
        self.model, self.readers, self.ground = of(model), dict(readers), ground or Ground()

    def check(self, method: Method) -> None:
        """Refuse a method that this editor cannot do.

        Raises:
            InputError: no layers, one that the model has not; no reader at a point; no means, or no contrast pairs.
        """
        if not isinstance(method, Method):
            raise InputError(f"{method!r} is no way of editing: give a Method, such as interventions.default(model)")
        n = self.model.shape.n_layers
        if not method.layers:
            raise InputError(f"{method.name}: give at least one layer of 0..{n - 1}")
        for layer in (*method.layers, *(() if method.reader is None else (method.reader,))):
            if not 0 <= layer < n:
                raise InputError(f"{method.name}: layer {layer}: model {self.model.name} has layers 0..{n - 1}")
        if len(set(method.layers)) < len(method.layers):
            raise InputError(f"{method.name}: a layer is given twice")
        edit_changes.check(method, self.readers, self.ground)

    def run(
        self,
        cases: EditCases,
        method: Method,
        *,
        control: bool = False,
        seed: int = 0,
        batch: int = BATCH,
        passes: "Sequence[Pass] | None" = None,
    ) -> Edited:
        """Run every case with and without its edit.

        Args:
            control: changes of the same norms, at the same points and plies, in random directions.
            seed: of those.
            passes: what `passes` made of these cases, to be shared among methods; its batches are used.

        Raises:
            InputError: as `check`.
        """
        self.check(method)
        if not isinstance(cases, EditCases):
            raise InputError(f"{type(cases).__name__} is no set of edits: circuits.editing.cases makes them")
        parts = []
        for own in cases.batches(batch) if passes is None else passes:
            if isinstance(own, EditCases):
                own = Pass(own, self._last(own) if method.plies == "last" else None)
            last = own.last if method.plies == "last" else None
            parts.append(self._run(own.cases, method, last, control, seed))

        def joined(name: str) -> dict[str, Tensor]:
            return {hook: torch.cat([getattr(p, name)[hook] for p in parts]) for hook in parts[0].norm}

        before, after = (torch.cat([getattr(p, name) for p in parts]) for name in ("before", "after"))
        return Edited(cases, method, control, before, after, joined("norm"), joined("share"))

    def passes(self, cases: EditCases, batch: int = BATCH) -> "list[Pass]":
        """The cases and their unedited passes, by batch."""
        return [Pass(own, self._last(own)) for own in cases.batches(batch)]

    def _last(self, cases: EditCases) -> LastPly:
        return LastPly.of(self.model, cases.tokens[:, :59], cases.ply)

    def edits(self, cases: EditCases, method: Method) -> tuple[list[Edit], dict[str, Tensor]]:
        """The hooks that make a method's edits, and where they will leave their changes, by hook.

        With ``plies="last"`` they are for `LastPly.run`, else for `OthelloModel.run` on the whole transcripts.
        """
        self.check(method)
        return self._hooks(Here.of(cases, method.plies, self.model.device), method)

    def edits_at(
        self, square: Tensor, before: Tensor, after: Tensor, on: Tensor, ply: Tensor, method: Method
    ) -> tuple[list[Edit], dict[str, Tensor]]:
        """The same from the fields of `edit_changes.Here`: the states given, instead of a case's own."""
        fields = (square.clamp_min(0), before.clamp_min(0), after.clamp_min(0), on, ply)
        return self._hooks(Here(*(t.to(self.model.device) for t in fields)), method)

    def _hooks(self, here: Here, method: Method) -> tuple[list[Edit], dict[str, Tensor]]:
        made: dict[str, Tensor] = {}

        def edit(layer: int, hook: str) -> Callable:
            change = edit_changes.change(method, layer, hook, self.readers, self.ground, here)

            def f(x: Tensor, _) -> Tensor:
                flat = x.flatten(2) if method.name == "head shift" else x
                made[hook] = change(flat)
                return (flat + made[hook]).view(x.shape)

            return f

        return [(method.hook(layer), edit(layer, method.hook(layer))) for layer in sorted(method.layers)], made

    def _run(self, cases: EditCases, method: Method, last: LastPly | None, control: bool, seed: int) -> Edited:
        rows = torch.arange(len(cases), device=self.model.device)
        plies = torch.zeros_like(rows) if last else cases.ply.to(rows.device)

        def logits(edits: list[Edit], save: Sequence[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
            if last is not None and not edits:
                found, saved = last.unedited(save)
                return found, {name: x.flatten(1) for name, x in saved.items()}
            if last is not None:
                found, saved = last.run(edits, save)
            else:
                tokens = cases.tokens[:, : int(cases.ply.max()) + 1].long()
                found, saved = self.model.run(tokens, save=save, edit=edits)
            return found[rows, plies], {name: x[rows, plies].flatten(1) for name, x in saved.items()}

        edits, made = self.edits(cases, method)
        hooks = [hook for hook, _ in edits]
        before, unedited = logits([], hooks)
        after, _ = logits(edits)
        changes = dict(made)
        if control:
            after, _ = logits([(hook, random_directions(changes[hook], cases, hook, seed)) for hook in hooks])
        norm = {hook: changes[hook][rows, plies].norm(dim=-1) for hook in hooks}
        share = {hook: norm[hook] / unedited[hook].norm(dim=-1) for hook in hooks}
        return Edited(cases, method, control, before, after, norm, share)


def random_directions(
    change: Float[Tensor, "case n width"], cases: EditCases, hook: str, seed: int = 0
) -> Callable[[Tensor, object], Tensor]:
    """The control of an edit: changes of its norms in random directions, one a case and hook whatever the batch."""
    width = change.shape[-1]
    drawn = []
    code = transcript_hash(cases.tokens, seed) + sum(hook.encode())
    for square, after in zip(cases.square.unbind(1), cases.after.unbind(1), strict=True):
        code = torch.where(square < 0, code, mix64(code + square * 3 + after))
    for draw in code.tolist():
        generator = torch.Generator().manual_seed(draw & (2**63 - 1))
        drawn.append(torch.randn(width, generator=generator))
    direction = torch.stack(drawn).to(change)
    direction = direction - direction.mean(-1, keepdim=True)  # as everything on the stream
    direction = direction / direction.norm(dim=-1, keepdim=True)
    return lambda x, _: x + (change.norm(dim=-1, keepdim=True) * direction[:, None]).view(x.shape)


def default(model: OthelloModel) -> Method:
    """The method that edits use where none is named: of all, the lowest error on held-out cases.

    That is, on the bundled model (`benchmarks/EDITING.md`). On a model of another depth it is made at the same
    fractions of it, which nothing here has chosen: `circuits.editing.tuning` does.
    """
    n = model.shape.n_layers
    first = round(3 * n / 8)
    return Method("class mean", 3.0, tuple(range(first, max(first + 1, round(7 * n / 8)))))


def _spans(layers: Sequence[int]) -> str:
    """Layers in words: "L3", "L2-L7", "L1 L4"."""
    layers = sorted(layers)
    if len(layers) > 2 and layers == list(range(layers[0], layers[-1] + 1)):
        return f"L{layers[0]}-L{layers[-1]}"
    return " ".join(f"L{layer}" for layer in layers)
