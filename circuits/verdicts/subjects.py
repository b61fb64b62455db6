"""What a rule is about: a neuron, a head, a direction of the stream, or a set of neurons, and its one number.

A subject has *values* at every position (a head's output z has d_head of them, a set one a neuron), which can be read,
replaced and followed into the stream, and one *scalar* made of them, which the rule is to explain:

    neuron      its activation, after the non-linearity
    direction   the stream's coordinate on a unit direction u at a point, x . u
    head        z . u, u the unit difference of the means of z between training positions where the rule holds and fails
    set         mean over its neurons of sign (a - m) / sd, with mean and sd of the training positions; sign is -1 for a
                neuron that is lower where the rule holds

The last two are learnt on training games: `Subject.fitted`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuits import notation
from circuits.board_readers import COLOUR, EMPTINESS, BoardReader
from circuits.causes.nodes import STREAM, Node, check_node, parse_node
from circuits.directions import unit as unit_vectors
from circuits.errors import InputError
from circuits.last_ply import Edit
from circuits.notation import CENTRE, LABELS, Unit
from circuits.othello_model import OthelloModel
from circuits.plain import PlainModel, of


@dataclass(frozen=True, eq=False)
class Subject:
    """A unit, a direction or a set of neurons; made by `subject` or `direction`.

    Attributes:
        name: as printed; kind: "neuron", "head", "direction" or "set".
        nodes: its parts; for a direction its point.
        model: whose part it is.
        vector: [d_model], of a direction.
        weights, centre: the scalar is (values - centre) . weights; None until `fitted` where it has to be learnt.
    """

    name: str
    kind: str
    nodes: tuple[Node, ...]
    model: PlainModel
    vector: Float[Tensor, "d_model"] | None = None
    weights: Float[Tensor, "k"] | None = None
    centre: Float[Tensor, "k"] | None = None

    @property
    def units(self) -> tuple[Unit, ...]:
        """Its neurons or its head; none for a direction."""
        return tuple(node.unit for node in self.nodes if node.unit is not None)

    @property
    def hooks(self) -> tuple[str, ...]:
        """Where its values are read and replaced, in the order in which the model reaches them."""
        return tuple(dict.fromkeys(node.hook for node in sorted(self.nodes, key=lambda node: node.order)))

    @property
    def layer(self) -> int:
        """The layer of its last part."""
        return max(node.layer for node in self.nodes)

    @property
    def first_layer(self) -> int:
        return min(node.layer for node in self.nodes)

    @property
    def stop_at(self) -> int:
        """The first block that its values do not need."""
        return self.layer + 1

    @property
    def reads(self) -> str:
        """The point of the stream that its last part is computed from (a direction: the point before its own)."""
        node = max(self.nodes, key=lambda node: node.order)
        before = {"neuron": "mid", "head": "pre", "post": "mid", "mid": "pre", "pre": "pre"}[node.kind]
        if before == "pre" and node.layer:
            return f"blocks.{node.layer - 1}.hook_resid_post"
        return f"blocks.{node.layer}.hook_resid_{before}"

    @property
    def writes(self) -> str:
        """The first point of the stream that holds all it writes (a direction: its own point)."""
        if self.kind == "direction":
            return self.nodes[0].hook
        return f"blocks.{self.layer}.hook_resid_{'mid' if self.kind == 'head' else 'post'}"

    @property
    def width(self) -> int:
        """How many values it has."""
        return self.model.shape.d_head if self.kind == "head" else len(self.nodes)

    @property
    def words(self) -> str:
        """What the scalar is."""
        return {
            "neuron": f"the activation of {self.name}, after the non-linearity",
            "direction": f"the stream’s coordinate on the unit direction {self.name}",
            "head": f"the output of {self.name} along the unit difference of its means, rule holds less rule fails, on "
            "the training games",
            "set": f"the mean of {len(self.nodes)} neurons, each less its mean and over its standard deviation on the "
            "training games, with the sign that its difference has between where the rule holds and fails",
        }[self.kind]

    def values(self, acts: Mapping[str, Tensor]) -> Float[Tensor, "*batch k"]:
        """Its values from saved activations [*batch, ...] at its hooks."""
        if self.kind == "direction":
            return (acts[self.nodes[0].hook].float() @ self.vector.to(self.model.device))[..., None]
        if self.kind == "head":
            return acts[self.nodes[0].hook][..., self.nodes[0].index, :].float()
        return torch.stack([acts[node.hook][..., node.index] for node in self.nodes], -1).float()

    @property
    def is_fitted(self) -> bool:
        return self.weights is not None

    def scalar(self, values: Float[Tensor, "*batch k"]) -> Float[Tensor, "*batch"]:
        """Its one number.

        Raises:
            InputError: a head, or a set, whose scalar was not learnt yet.
        """
        if self.weights is None:
            raise InputError(f"{self.name}: the number that stands for a {self.kind} is learnt first: Subject.fitted")
        return (values - self.centre.to(values)) @ self.weights.to(values)

    def fitted(self, values: Float[Tensor, "n k"], holds: Bool[Tensor, "n"]) -> "Subject":
        """With its scalar learnt on training positions; a neuron and a direction have nothing to learn.

        Raises:
            InputError: the rule holds, or fails, at none of them; nothing differs between the two.
        """
        if self.kind in ("neuron", "direction"):
            return self
        if not holds.any() or holds.all():
            often = "always" if len(holds) and holds.all() else "never"
            raise InputError(f"{self.name}: nothing can be learnt where the rule {often} holds")
        values = values.double().cpu()
        difference = values[holds].mean(0) - values[~holds].mean(0)
        if self.kind == "head":
            weights = difference / difference.norm().clamp_min(1e-30)
            centre = torch.zeros_like(weights)
        else:
            spread = values.std(0, correction=0)
            weights = torch.where(spread > 1e-9, difference.sign() / spread.clamp_min(1e-9), 0.0) / len(spread)
            centre = values.mean(0)
        if not weights.any():
            raise InputError(f"{self.name} is the same wherever the rule holds and fails: nothing can be learnt")
        return replace(self, weights=weights.float(), centre=centre.float())

    def edits(self, new: Float[Tensor, "row variant k"]) -> list[Edit]:
        """Hooks that set its values, for `LastPly.run`; for whole passes ``new`` is [game, ply, k].

        A direction moves the stream along u until its coordinate is ``new``.
        """

        def edit(hook: str):
            own = [i for i, node in enumerate(self.nodes) if node.hook == hook]

            def f(x: Tensor, _) -> Tensor:
                wanted = new.to(x)
                if self.kind == "direction":
                    u = self.vector.to(x)
                    return x + (wanted - (x @ u)[..., None]) * u
                if self.kind == "head":
                    x[..., self.nodes[0].index, :] = wanted
                    return x
                x[..., [self.nodes[i].index for i in own]] = wanted[..., own]
                return x

            return f

        return [(hook, edit(hook)) for hook in self.hooks]

    def written(self, change: Float[Tensor, "*batch k"]) -> dict[str, Float[Tensor, "*batch d_model"]]:
        """What a change of its values writes to the stream directly, by the point that first holds it."""
        found: dict[str, Tensor] = {}
        model = self.model
        if self.kind == "direction":
            return {self.writes: change * self.vector.to(change)}
        if self.kind == "head":
            node = self.nodes[0]
            return {self.writes: change @ model.W_O(node.layer)[node.index].to(change)}
        for layer in sorted({node.layer for node in self.nodes}):
            own = [i for i, node in enumerate(self.nodes) if node.layer == layer]
            rows = model.W_out(layer)[[self.nodes[i].index for i in own]].to(change)
            found[f"blocks.{layer}.hook_resid_post"] = change[..., own] @ rows
        return found


def subject(
    model: OthelloModel, name: "str | Unit | Sequence[str | Unit]", readers: Mapping[str, BoardReader] | None = None
) -> Subject:
    """A subject from its name.

    Args:
        name: a neuron ("L5N1393"), a head ("L2H5"), several neurons ("L5N1, L5N7", or a list), or a square's direction
            in a board probe ("L4 post C0 mine", theirs or empty).
        readers: the board probes by point, for directions.

    Raises:
        InputError: not such a name; no such unit; no probe at that point; a centre square's emptiness.
    """
    model = of(model)
    if isinstance(name, str) and (match := re.fullmatch(r"\s*(L\d+\s*(?:pre|mid|post))\b(.*)", name, re.I | re.S)):
        return _board_direction(model, match[1], match[2], readers or {})
    if not isinstance(name, str | Unit | list | tuple):
        raise InputError(f"{name!r} is no unit: write a neuron, as in L5N1393, a head, as in L2H5, or several neurons")
    given = re.split(r"[,;]", name) if isinstance(name, str) else [name] if isinstance(name, Unit) else list(name)
    units = [model.unit(one) for one in given]
    if not units:
        raise InputError("no unit is given: write a neuron, as in L5N1393, a head, as in L2H5, or several neurons")
    if len(set(units)) < len(units):
        twice = next(unit for unit in units if units.count(unit) > 1)
        raise InputError(f"{twice} is given twice: a set holds different neurons")
    if len(units) > 1 and any(unit.kind == "head" for unit in units):
        raise InputError(f"{', '.join(map(str, units))}: a set is of neurons; give one head at a time")
    nodes = tuple(Node(unit.kind, unit.layer, unit.index) for unit in units)
    if len(units) == 1:
        known = _known(1) if units[0].kind == "neuron" else {}
        return Subject(str(units[0]), units[0].kind, nodes, model, **known)
    return Subject(", ".join(map(str, units)), "set", nodes, model)


def direction(model: OthelloModel, point: str, vector: Float[Tensor, "d_model"], name: str) -> Subject:
    """A direction of the stream.

    Args:
        point: "L4 post", "L4 mid" or "L4 pre"; vector: of any length but 0; it is centred and scaled to 1.
        name: for people, such as "parity".

    Raises:
        InputError: no such point; a vector of another width, or of no length.
    """
    model = of(model)
    node = _point(model, point)
    if vector.shape != (model.shape.d_model,):
        raise InputError(
            f"direction {name!r} is {list(vector.shape)}: model {model.name} has d_model {model.shape.d_model}"
        )
    u = unit_vectors(vector.float()[None])[0].to(model.device)
    return Subject(f"{node} {name}", "direction", (node,), model, vector=u, **_known(1))


def _known(k: int) -> dict[str, Tensor]:
    return {"weights": torch.ones(k), "centre": torch.zeros(k)}


def _point(model: PlainModel, text: str) -> Node:
    node = parse_node(text)
    if node.kind not in STREAM:
        raise InputError(f"{text!r} is no point of the stream: write 'L4 pre', 'L4 mid' or 'L4 post'")
    return check_node(node, model.shape)


def _board_direction(model: PlainModel, point: str, rest: str, readers: Mapping[str, BoardReader]) -> Subject:
    node = _point(model, point)
    if node.kind == "pre" and node.layer:  # one point, two names: probes know it by the first
        node = Node("post", node.layer - 1)
    words = rest.split()
    if len(words) != 2 or words[1].lower() not in ("mine", "theirs", "empty"):
        raise InputError(
            f"{rest.strip()!r} names no direction at {node}: a square and mine, theirs or empty, as in 'C0 mine'"
        )
    square, state = notation.square(words[0]), words[1].lower()
    if state == "empty" and square in CENTRE:
        raise InputError(f"{LABELS[square]} is a centre square, which is never empty: it has no such direction")
    if node.hook not in readers:
        have = f"; there are probes at {', '.join(readers)}" if readers else "; no probes are given"
        raise InputError(f"there is no board probe at {node.hook} to take a direction from{have}")
    both = readers[node.hook].directions[square]
    vector = {"mine": both[COLOUR], "theirs": -both[COLOUR], "empty": both[EMPTINESS]}[state]
    return direction(model, str(node), vector, f"{LABELS[square]} {state}")
