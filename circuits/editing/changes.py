"""What each method of `circuits.editing.interventions` adds to the stream: one function a method.

Shapes: a batch of cases with k edited squares each, at n plies (1, or every one), d wide.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from circuits.board_readers import COLOUR, EMPTINESS, SIGNS, BoardReader
from circuits.editing.board_edits import EditCases
from circuits.editing.stream_means import StreamMeans
from circuits.errors import InputError
from circuits.notation import LABELS, N_SQUARES

if TYPE_CHECKING:
    from circuits.editing.interventions import Method

#: of Adam, in gradient descent. With its usual epsilon of 1e-8 it makes whole steps of slopes next to nothing, where a
#: layer before has done the edit already, and rounding decides their direction.
BETAS, EPS = (0.9, 0.999), 1e-3
Change = Callable[[Float[Tensor, "case n d"]], Float[Tensor, "case n d"]]


@dataclass(frozen=True, eq=False)
class Ground:
    """What some methods need beside a probe.

    Attributes:
        means: of the stream and the heads by a square's state.
        contrasts: by hook, [square, state b, state a, d_model]: the stream of one game in which the square is a less
            that of one in which it is b; NaN where there is no such pair.
    """

    means: StreamMeans | None = None
    contrasts: dict[str, Float[Tensor, "64 3 3 d_model"]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Here:
    """The edits at the plies where they are made.

    Attributes:
        square: [case, k], 0 where there is none.
        before, after: [case, n, k] states, 0 where nothing is done; on: whether something is.
        ply: [case, n].
    """

    square: Int[Tensor, "case k"]
    before: Int[Tensor, "case n k"]
    after: Int[Tensor, "case n k"]
    on: Bool[Tensor, "case n k"]
    ply: Int[Tensor, "case n"]

    @staticmethod
    def of(cases: EditCases, plies: str, device: torch.device) -> "Here":
        """The last ply (n = 1), or every ply up to the longest case's last."""
        before, after, on = (t.transpose(1, 2) for t in cases.by_ply())
        every = torch.arange(before.shape[1]).expand(len(cases), -1)
        if plies == "last":
            row, last = torch.arange(len(cases)), cases.ply
            before, after, on, every = (t[row, last][:, None] for t in (before, after, on, every))
        else:
            before, after, on, every = (t[:, : int(cases.ply.max()) + 1] for t in (before, after, on, every))
        square = cases.square.clamp_min(0)
        return Here(*(t.to(device) for t in (square, before.clamp_min(0), after.clamp_min(0), on, every)))

    @property
    def moved(self) -> Bool[Tensor, "case n k 2"]:
        """Which coordinates an edit is about: colour; emptiness too where a disc comes or goes, or nothing changes."""
        noop = self.before == self.after
        empties = ((self.before == 0) != (self.after == 0)) | noop
        return torch.stack([self.on, self.on & empties], -1)

    @property
    def sign(self) -> Float[Tensor, "case n k 2"]:
        """The sign that the wanted state gives each coordinate."""
        return SIGNS.to(self.after.device)[self.after]


def check(method: "Method", readers: Mapping[str, Callable], ground: Ground) -> None:
    """Refuse a method whose readers, means or contrast pairs are missing.

    Raises:
        InputError: which.
    """
    for layer in method.layers:
        hook = method.hook(layer)
        if method.name not in ("mean difference", "head shift", "contrast"):
            _reader(method, hook, readers)
        needs_means = method.name in ("class mean", "mean difference", "head shift")
        if needs_means and (ground.means is None or hook not in ground.means.state):
            raise InputError(
                f"{method.name} needs the stream's means at {hook}: circuits.editing.stream_means makes them"
            )
        if method.name == "contrast" and hook not in ground.contrasts:
            raise InputError(f"contrast needs contrast pairs at {hook}: circuits.editing.contrasts makes them")


def change(
    method: "Method", layer: int, hook: str, readers: Mapping[str, Callable], ground: Ground, here: Here
) -> Change:
    """A function from the stream at a hook to what the method adds to it."""
    return CHANGES[method.name](method, layer, hook, readers, ground, here)


def _reader(method: "Method", hook: str, readers: Mapping[str, Callable]) -> Callable:
    at = hook if method.reader is None else f"blocks.{method.reader}.hook_resid_post"
    if at not in readers:
        raise InputError(f"{method.name}: there is no reader of the board at {at}")
    if method.name != "gradient" and not isinstance(readers[at], BoardReader):
        raise InputError(f"{method.name} needs a linear reader, with directions, at {at}; only 'gradient' takes any")
    return readers[at]


# ---- methods that move coordinates --------------------------------------------------------------------------


def _coordinates(method, hook, readers, here, target: Callable[[Tensor, BoardReader], Tensor]) -> Change:
    """Move the edited squares' coordinates [case, n, k, 2] to ``target(coordinates, reader)``."""
    reader = _reader(method, hook, readers)
    device = here.square.device
    on = here.moved & reader.defined.to(device)[here.square][:, None]
    u = reader.directions[here.square]  # case k 2 d
    along = reader.dual[here.square] if method.solve == "hold others" else u

    def change(x: Tensor) -> Tensor:
        coordinates = einsum(x, u, "case n d, case k two d -> case n k two")
        goal = torch.where(on, target(coordinates, reader), coordinates)
        if method.solve == "hold others":
            return einsum(goal - coordinates, along, "case n k two, case k two d -> case n d")
        if method.solve == "in turn":
            return _in_turn(x, u, goal, on)
        return _least_squares(u, goal - coordinates, on)

    return change


def _in_turn(x: Tensor, u: Tensor, goal: Tensor, on: Tensor) -> Tensor:
    """Each coordinate set by itself, in order: a later one disturbs an earlier one where they are not orthogonal."""
    total = torch.zeros_like(x)
    for k in range(u.shape[1]):
        for which in (COLOUR, EMPTINESS):
            direction = u[:, k, which][:, None]
            now = ((x + total) * direction).sum(-1)
            missing = torch.where(on[:, :, k, which], goal[:, :, k, which] - now, 0.0)
            total = total + missing[..., None] * direction
    return total


def _least_squares(u: Tensor, missing: Tensor, on: Tensor) -> Tensor:
    """The shortest change that moves all coordinates by ``missing``: sum of w_i u_i with (u u^T) w = missing."""
    u, missing, on = u.flatten(1, 2), missing.flatten(2), on.flatten(2)
    gram = einsum(u, u, "case i d, case j d -> case i j")[:, None]
    both = on[..., None] & on[..., None, :]
    eye = torch.eye(u.shape[1], dtype=u.dtype, device=u.device)
    # A coordinate that is not moved has an equation of its own: w = 0.
    gram = torch.where(both, gram, torch.zeros_like(gram)) + eye * (~on)[..., None]
    weights = torch.linalg.lstsq(gram.double(), (missing * on)[..., None].double()).solution[..., 0]
    return einsum(weights.to(u), u, "case n i, case i d -> case n d")


def _negate(method, layer, hook, readers, ground, here) -> Change:
    # Only what changes its sign is negated; an erased square's colour is taken out. A placed disc has no colour to
    # negate: it gets as much of one as the emptiness that it negates.
    was = SIGNS.to(here.before.device)[here.before]

    def target(c: Tensor, _) -> Tensor:
        negated = torch.where(was * here.sign < 0, -method.strength * c, c)
        colour = torch.where(here.after == 0, 0.0, negated[..., COLOUR])
        placed = (here.before == 0) & (here.after != 0)
        amount = method.strength * c[..., EMPTINESS].abs() * here.sign[..., COLOUR]
        noop = here.before == here.after
        colour = torch.where(placed, amount, colour)
        colour = torch.where(noop, c[..., COLOUR], colour)
        return torch.stack([colour, negated[..., EMPTINESS]], -1)

    return _coordinates(method, hook, readers, here, target)


def _absolute(method, layer, hook, readers, ground, here) -> Change:
    return _coordinates(method, hook, readers, here, lambda c, _: method.strength * here.sign)


def _class_mean(method, layer, hook, readers, ground, here) -> Change:
    means = ground.means

    def target(c: Tensor, reader: BoardReader) -> Tensor:
        u = reader.directions[here.square]
        plies = einsum(means.ply_mean[hook][here.ply], u, "case n d, case k two d -> case n k two")
        states = einsum(means.state[hook][here.square], u, "case k state d, case k two d -> case k state two")
        states = states[:, None].expand(-1, here.ply.shape[1], -1, -1, -1)

        def mean_of(state: Tensor) -> Tensor:
            return states.gather(3, state[..., None, None].expand(*state.shape, 1, 2))[..., 0, :]

        wanted, now = mean_of(here.after), mean_of(here.before)
        middle = torch.where((here.before == here.after)[..., None], 0.0 * wanted, (wanted + now) / 2)
        scale = torch.where(here.before == here.after, 1.0, method.strength)[..., None]
        return plies + middle + scale * (wanted - middle)

    return _coordinates(method, hook, readers, here, target)


# ---- methods that add a vector --------------------------------------------------------------------------------


def _added(vectors: Float[Tensor, "64 3 3 d"], here: Here, strength: float) -> Change:
    """strength x the sum over edited squares of ``vectors[square, before, after]``."""
    squares = here.square[:, None].expand_as(here.before)
    chosen = vectors[squares, here.before, here.after] * here.on[..., None]
    if torch.isnan(chosen).any():
        row, _, k = torch.isnan(chosen).any(-1).nonzero()[0].tolist()
        where = LABELS[int(here.square[row, k])]
        raise InputError(f"no contrast pair turns {where} as case {row} asks: use another method, or search more games")
    total = strength * chosen.sum(2)
    return lambda x: total.to(x.dtype)


def _target_vector(method, layer, hook, readers, ground, here) -> Change:
    classes = _reader(method, hook, readers).classes
    return _added(classes[:, None].expand(-1, 3, -1, -1), here, method.strength)


def _differences(states: Float[Tensor, "64 3 d"]) -> Float[Tensor, "64 3 3 d"]:
    """[square, before, after]: the mean of after less that of before."""
    return states[:, None] - states[:, :, None]


def _mean_difference(method, layer, hook, readers, ground, here) -> Change:
    return _added(_differences(ground.means.state[hook]), here, method.strength)


def _contrast(method, layer, hook, readers, ground, here) -> Change:
    return _added(ground.contrasts[hook], here, method.strength)


def _head_shift(method, layer, hook, readers, ground, here) -> Change:
    shifts, separation = {}, {}
    for each in method.layers:
        at = method.hook(each)
        spread = ground.means.spread[at]
        theta = _differences(ground.means.state[at]).unflatten(-1, (len(spread), -1))
        length = theta.norm(dim=-1, keepdim=True)
        theta = theta / length.clamp_min(1e-12)
        sigma = einsum(theta, spread, theta, "s b a h d, h d e, s b a h e -> s b a h").clamp_min(0).sqrt()
        shifts[each], separation[each] = sigma[..., None] * theta, length[..., 0] / sigma.clamp_min(1e-12)
    ranked = torch.stack([separation[each] for each in sorted(method.layers)], 3)  # s b a layer head
    flat = ranked.flatten(3)
    best = flat.topk(min(method.heads, flat.shape[-1]), dim=-1).indices
    chosen = torch.zeros_like(flat, dtype=torch.bool).scatter_(3, best, True).view(ranked.shape)
    own = chosen[:, :, :, sorted(method.layers).index(layer)]
    return _added((shifts[layer] * own[..., None]).flatten(3), here, method.strength)


# ---- gradient descent ---------------------------------------------------------------------------------------------


def _gradient(method, layer, hook, readers, ground, here) -> Change:
    reader = _reader(method, hook, readers)
    cases, n, k = here.before.shape
    wanted = torch.full((cases, n, N_SQUARES), -1, device=here.square.device)
    for i in range(k):  # one square at a time: padding must not overwrite
        at, own = here.square[:, None, i : i + 1].expand(-1, n, -1), slice(i, i + 1)
        wanted.scatter_(2, at, torch.where(here.on[:, :, own], here.after[:, :, own], wanted.gather(2, at)))
    edited = wanted >= 0
    active = here.on.any(-1, keepdim=True)

    def change(stream: Tensor) -> Tensor:
        # In float32 the squares that are to stay would have slopes of rounding alone, different in every batch.
        x = stream.double() if isinstance(reader, BoardReader) else stream
        with torch.no_grad():
            as_read = reader(x).softmax(-1)
        target = torch.where(edited[..., None], one_hot(wanted.clamp_min(0), 3).to(x), as_read)
        moving = x.clone()
        first, second = torch.zeros_like(x), torch.zeros_like(x)
        for step in range(1, method.steps + 1):
            with torch.enable_grad():
                leaf = moving.detach().requires_grad_()
                loss = -(target * reader(leaf).log_softmax(-1)).sum()
                (slope,) = torch.autograd.grad(loss, leaf)
            first = BETAS[0] * first + (1 - BETAS[0]) * slope
            second = BETAS[1] * second + (1 - BETAS[1]) * slope**2
            unbiased = first / (1 - BETAS[0] ** step), second / (1 - BETAS[1] ** step)
            moving = moving - method.strength * unbiased[0] / (unbiased[1].sqrt() + EPS)
        return torch.where(active, moving - x, 0.0).to(stream)

    return change


CHANGES = {
    "negate": _negate,
    "absolute": _absolute,
    "class mean": _class_mean,
    "contrast": _contrast,
    "target vector": _target_vector,
    "mean difference": _mean_difference,
    "gradient": _gradient,
    "head shift": _head_shift,
}
