"""What a claim says a unit writes, as things that can be measured: one target an effect.

    reading   the probe's log-odds of a square's state. *Direct*: at the first point that holds all the subject writes.
              *Total*: after the layer in the middle of the model (L4 of eight: there the board reads best, and edits of
              it change moves), for later subjects after the next layer; at the first point, where none comes after
    logit     a move's logit less the mean over the 60 moves. Direct: the final LayerNorm frozen at its scale
    unit      another neuron's activation. Direct: what it reads of the subject's writing, its LayerNorm frozen

A value is given in the sense claimed: for "-C0" less of the logit of C0 is more. It is measured for the square, or the
neuron, that the effect names and for all others of its kind.
"""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from circuits.attribution import LOGITS
from circuits.board_readers import BoardReader
from circuits.causes.ablation import move_reader, relative, scale
from circuits.causes.nodes import Node
from circuits.errors import InputError
from circuits.gpt import activation
from circuits.notation import CENTRE, LABELS, N_SQUARES, PLAYABLE
from circuits.rules import Effect
from circuits.verdicts.subjects import Subject

#: the classes of a board reader
CLASSES = ("empty", "theirs", "mine")
Writing = Mapping[str, Float[Tensor, "*batch d_model"]]
Acts = Mapping[str, Tensor]


class Target:
    """What one effect names, and all else of its kind.

    Attributes:
        effect; point: where the total is read; unit: what it is counted in.
        saves: hooks whose activations the methods take.
        names: of everything measured; own: the number of what the effect names.
        near: where the direct effect is read.
    """

    effect: Effect
    point: str
    near: str
    unit: str
    saves: tuple[str, ...]
    names: tuple[str, ...]
    own: int

    def number_of(self, effect: Effect) -> int | None:
        """The number of what another effect names, if it is measured here."""
        if effect.kind != self.effect.kind:
            return None
        name = effect.name if effect.kind == "unit" else LABELS[effect.square]
        name = f"{name} {self.effect.name}" if effect.kind == "reading" else name
        return self.names.index(name) if name in self.names else None

    def measure(self, logits: Float[Tensor, "*batch token"], acts: Acts) -> Float[Tensor, "*batch n"]:
        """The value of everything."""
        raise NotImplementedError

    def along(self, acts: Acts) -> dict[str, Float[Tensor, "*batch"]]:
        """What the effect names, at each point where it can be read."""
        return {}

    def direct(self, written: Writing, acts: Acts) -> Float[Tensor, "row"]:
        """What the subject's writing, by the point that first holds it, adds to what the effect names.

        ``acts`` are those of the unchanged run, [row, ...].
        """
        raise NotImplementedError

    def weights(self, written: Writing, acts: Acts) -> Float[Tensor, "n"]:
        """What one unit of the subject's scalar, which writes [d_model], adds to everything."""
        raise NotImplementedError


class Reading(Target):
    def __init__(self, subject: Subject, effect: Effect, readers: Mapping[str, BoardReader]):
        shape = subject.model.shape
        first = Node("mid" if subject.writes.endswith("mid") else "post", subject.layer)
        if subject.writes.endswith("pre"):
            first = Node("pre", subject.layer)
        points = [Node(kind, layer) for layer in range(shape.n_layers) for kind in ("pre", "mid", "post")]
        after = [node for node in points if node.order >= first.order and node.hook in readers]
        if not after:
            raise InputError(f"there is no board probe at {subject.writes} or later: {effect} cannot be read")
        least = max(first.layer + 1, shape.n_layers // 2)
        posts = [node for node in after if node.kind == "post" and node.layer <= shape.n_layers - 2]
        posts = [node for node in posts if node.layer >= least][:1] or posts[-1:]
        self.effect, self.unit = effect, "log-odds"
        self.near, self.point = after[0].hook, (posts or after)[0].hook
        self._along = {node.hook: readers[node.hook] for node in after if node.kind == "post" or node is after[0]}
        self.saves = tuple(self._along)
        self._near, self._far = readers[self.near], readers[self.point]
        self._squares = [s for s in range(N_SQUARES) if effect.name != "empty" or s not in CENTRE]
        self.names = tuple(f"{LABELS[s]} {effect.name}" for s in self._squares)
        self.own = self.number_of(effect)
        self._class = CLASSES.index(effect.name)

    def measure(self, logits: Tensor, acts: Acts) -> Tensor:
        return self.effect.sign * self._log_odds(self._far, acts[self.point])[..., self._squares]

    def along(self, acts: Acts) -> dict[str, Tensor]:
        square = self.effect.square
        return {
            hook: self.effect.sign * self._log_odds(reader, acts[hook])[..., square]
            for hook, reader in self._along.items()
        }

    def direct(self, written: Writing, acts: Acts) -> Tensor:
        x = acts[self.near]
        before, after = (self._log_odds(self._near, y) for y in (x, x - sum(written.values())))
        return self.effect.sign * (before - after)[..., self.effect.square]

    def weights(self, written: Writing, acts: Acts) -> Tensor:
        w = self._near.weight.to(acts[self.near])
        other = [i for i in (1, 2) if i != self._class]  # a colour against the other one, empty against both
        vectors = w[..., self._class] - w[..., other].mean(-1)
        return self.effect.sign * (sum(written.values()) @ vectors)[self._squares]

    def _log_odds(self, reader: BoardReader, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch 64"]:
        logits = reader(x)
        others = [i for i in range(3) if i != self._class]
        return logits[..., self._class] - logits[..., others].logsumexp(-1)


class Logit(Target):
    def __init__(self, subject: Subject, effect: Effect):
        model = subject.model
        self.effect, self.unit, self.point = effect, "logit", LOGITS
        self.near = f"blocks.{model.shape.n_layers - 1}.hook_resid_post"
        self.saves, self._model, self._read = (self.near,), model, move_reader(model)
        self.names = tuple(LABELS[s] for s in PLAYABLE)
        self.own = self.number_of(effect)

    def measure(self, logits: Tensor, acts: Acts) -> Tensor:
        return self.effect.sign * relative(logits)

    def direct(self, written: Writing, acts: Acts) -> Tensor:
        s = scale(self._model, acts[self.near])[..., 0]
        return self.effect.sign * self._read(sum(written.values()))[..., self.own] / s

    def weights(self, written: Writing, acts: Acts) -> Tensor:
        return self.effect.sign * self._read(sum(written.values())) / scale(self._model, acts[self.near]).mean()


class Activation(Target):
    def __init__(self, subject: Subject, effect: Effect):
        model = subject.model
        unit = model.unit(effect.name)
        if unit.kind == "head":
            raise InputError(f"{unit} is a head, which has no one activation: name a neuron")
        self._layer, self._index, self._model = unit.layer, unit.index, model
        reads = Node("mid", unit.layer)
        if all(Node(node.kind, node.layer, node.index).order >= reads.order for node in subject.nodes):
            raise InputError(f"{unit} does not come after {subject.name}, and cannot read what it writes")
        block = f"blocks.{unit.layer}"
        self.effect, self.unit, self.point = effect, "activation", f"{block}.mlp.hook_post"
        self.near, self._pre = f"{block}.hook_resid_mid", f"{block}.mlp.hook_pre"
        self.saves = (self.near, self._pre, self.point)
        self.names = tuple(f"L{unit.layer}N{i}" for i in range(model.shape.d_mlp))
        self.own = self.number_of(effect)

    def measure(self, logits: Tensor, acts: Acts) -> Tensor:
        return self.effect.sign * acts[self.point]

    def direct(self, written: Writing, acts: Acts) -> Tensor:
        pre = acts[self._pre]
        without = pre.clone()
        s = scale(self._model, acts[self.near])[..., 0]
        without[..., self.own] -= (self._read(written) @ self._model.W_in(self._layer))[..., self.own] / s
        act = activation(self._model.shape.act)
        return self.effect.sign * (act(pre) - act(without))[..., self.own]

    def weights(self, written: Writing, acts: Acts) -> Tensor:
        s = scale(self._model, acts[self.near]).mean()
        return self.effect.sign * (self._read(written) @ self._model.W_in(self._layer)) / s

    def _read(self, written: Writing) -> Tensor:
        """What was written before the neuron reads."""
        return sum(x for point, x in written.items() if _order(point) <= (self._layer, 1))


def _order(point: str) -> tuple[int, int]:
    _, layer, hook = point.split(".")
    return int(layer), ("hook_resid_pre", "hook_resid_mid", "hook_resid_post").index(hook)


def target(subject: Subject, effect: Effect, readers: Mapping[str, BoardReader]) -> Target:
    """What an effect of this subject is measured by.

    Raises:
        InputError: no probe to read a square with; a unit that is no neuron of the model, or does not come after.
    """
    if effect.kind == "reading":
        return Reading(subject, effect, readers)
    return Logit(subject, effect) if effect.kind == "logit" else Activation(subject, effect)
