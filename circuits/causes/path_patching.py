"""Path patching: what a change does along one edge, or through named nodes, and along no other way.

The sender's output is set to the other run's, and only the receiver sees it (Wang et al. 2023, arXiv 2211.00593;
Goldowsky-Dill et al. 2023, arXiv 2304.05969):

    d      = write_other(sender) − write_base(sender)
    d'     = write of the next node on x_base + d, less its write on x_base      for each node passed through
    effect = metric(base run in which the receiver reads x_base + d') − metric(base run)

After the receiver everything is free: the effect is the whole consequence of what it now computes. A receiver
``"target"`` is the metric itself, and the effect that of the direct path alone. What a sender reads, and every node
that is not named, keeps its base value until the receiver has written. A head as a node passed through or as the
receiver reads the change in q, k and v at once; ``L3H2.q`` in its queries only.

Direction ``"clean → corrupt"``: the base run is the corrupt one and the change the clean run's; the other way round
for ``"corrupt → clean"``. LayerNorms on the path, and after the receiver, are recomputed or frozen at the base run's
scale (`circuits.causes.pair_runs`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuits import plain
from circuits.causes.effects import Summary, summarise
from circuits.causes.metrics import Metric, check_pairs
from circuits.causes.nodes import Node, check_node
from circuits.causes.pair_runs import DIRECTIONS, LAYER_NORMS, Chunk, Stream, check_choice, chunks
from circuits.causes.pairs import Pairs
from circuits.causes.places import TARGET, place_of_point, read_at, whole, written_at
from circuits.errors import InputError
from circuits.gpt import activation
from circuits.othello_model import OthelloModel


@dataclass(frozen=True, eq=False)
class PathEffect:
    """One path's effect on a metric.

    Attributes:
        path: the names of its nodes, from the sender to the receiver.
        effects: [pair], metric with the path patched less metric of the base run.
        baseline: [pair], the metric of the base run.
        total: [pair], metric of the other run less that of the base run, both as the model computes them.
        metric: its name.
        direction, layer_norm: as asked for.
        game: [pair], for the summary's intervals.
    """

    path: tuple[str, ...]
    effects: Float[Tensor, "pair"]
    baseline: Float[Tensor, "pair"]
    total: Float[Tensor, "pair"]
    metric: str
    direction: str
    layer_norm: str
    game: Int[Tensor, "pair"]

    @cached_property
    def summary(self) -> Summary:
        return summarise(self.effects, self.game)

    @property
    def share(self) -> float:
        """Mean effect by mean total; NaN where the interval of that holds 0."""
        total = summarise(self.total, self.game)
        return float(self.effects.mean() / total.mean) if total.low > 0 or total.high < 0 else float("nan")

    def __repr__(self) -> str:
        s = self.summary
        return (
            f"PathEffect({' → '.join(self.path)}: {float(s.mean):+.3f} [{float(s.low):+.3f}, {float(s.high):+.3f}] on "
            f"{self.metric}, {self.share:.1%} of the total; {self.direction}, LayerNorm {self.layer_norm}, "
            f"{s.pairs} pairs)"
        )


def path_patch(
    model: OthelloModel,
    pairs: Pairs,
    sender: Node | str,
    receiver: Node | str,
    metric: Metric,
    *,
    through: Sequence[Node | str] = (),
    layer_norm: str = "recomputed",
    direction: str = "clean → corrupt",
) -> PathEffect:
    """The effect of one path.

    Args:
        sender: embed, a head, a neuron, or a whole layer's attn or MLP.
        receiver: a head or its q, k or v, a neuron, a layer's attn or MLP, or ``"target"``.
        through: nodes passed through, in order.

    Raises:
        InputError: a node that cannot send or receive, or that comes before the one it would read; a metric that is
            measured before the receiver writes.
    """
    check_pairs(metric, pairs)
    path = [sender, *through, receiver]
    effects, baseline, total = _patched(model, pairs, [path], metric, layer_norm, direction)
    names = tuple(str(node) for node in checked_path(model, path, metric))
    return PathEffect(names, effects[0], baseline, total, metric.name, direction, layer_norm, pairs.game)


def path_effects(
    model: OthelloModel,
    pairs: Pairs,
    paths: Sequence[Sequence[Node | str]],
    metric: Metric,
    *,
    layer_norm: str = "recomputed",
    direction: str = "clean → corrupt",
) -> Float[Tensor, "path pair"]:
    """The effects of many paths, each given as its nodes; the two runs are computed once. Otherwise as `path_patch`."""
    return _patched(model, pairs, paths, metric, layer_norm, direction)[0]


@torch.no_grad()
def _patched(
    model: OthelloModel,
    pairs: Pairs,
    paths: Sequence[Sequence[Node | str]],
    metric: Metric,
    layer_norm: str,
    direction: str,
) -> tuple[Float[Tensor, "path pair"], Float[Tensor, "pair"], Float[Tensor, "pair"]]:
    """Effects, baseline and total."""
    check_choice(layer_norm, LAYER_NORMS, "layer_norm")
    check_choice(direction, DIRECTIONS, "direction")
    model = plain.of(model)
    checked = [checked_path(model, path, metric) for path in paths]
    base, other = ("corrupt", "clean") if direction == DIRECTIONS[0] else ("clean", "corrupt")
    to = place_of_point(metric.point, model.shape)
    effects = torch.zeros(len(paths), len(pairs))
    baseline, total = torch.zeros(2, len(pairs))
    for chunk in chunks(model, pairs, to, base=base, layer_norm=layer_norm):
        rows = chunk.window.pair
        run = chunk.recomputed.run(getattr(pairs, other)[rows], to)
        before = chunk.value(chunk.base.stream[to], metric)
        baseline[rows] = before.cpu()
        total[rows] = (chunk.recomputed.value(run.stream[to], metric) - before).cpu()
        for i, path in enumerate(checked):
            change = run.written(model, path[0]) - chunk.base.written(model, path[0])
            effects[i, rows] = (chunk.value(along(chunk, change, path[1:], to), metric) - before).cpu()
    return effects, baseline, total


def along(chunk: Chunk, change: Stream, path: Sequence[Node | str], to: int) -> Stream:
    """The stream at a place, after a change was read by the nodes of a path and by nothing else until the last."""
    for node in path:
        if isinstance(node, str):
            return chunk.base.stream[to] + change
        change = response(chunk, node, chunk.base.stream[read_at(node)] + change)
    place = written_at(whole(node))
    return chunk.carried(chunk.base.stream[place] + change, place, to)


def response(chunk: Chunk, node: Node, x: Stream) -> Stream:
    """What a node writes when it reads x, less what it writes in the base run."""
    model, base, layer = chunk.model, chunk.base, node.layer
    n = chunk.normalised(read_at(node), x)
    if node.kind in ("neuron", "mlp"):
        chosen = slice(None) if node.kind == "mlp" else slice(node.index, node.index + 1)
        post = activation(model.shape.act)(n @ model.W_in(layer)[:, chosen] + model.b_in(layer)[chosen])
        return (post - base.post[layer][:, :, chosen]) @ model.W_out(layer)[chosen]
    heads = list(range(model.shape.n_heads)) if node.kind == "attn" else [node.index]
    now = dict(zip("qkv", (x[:, :, heads] for x in chunk.projected(layer, n)), strict=True))
    if node.kind in now:
        now |= {part: getattr(base, part)[layer][:, :, heads] for part in "qkv" if part != node.kind}
    z = chunk.attended(layer, now["q"], now["k"], now["v"], heads)
    return (z - base.z[layer][:, :, heads]).flatten(2) @ model.W_O(layer)[heads].flatten(0, 1)


def checked_path(model: OthelloModel, path: Sequence[Node | str], metric: Metric) -> list[Node | str]:
    """The nodes of a path from their names, the last one possibly ``"target"``.

    Raises:
        InputError: as `path_patch`.
    """
    to = place_of_point(metric.point, model.shape)
    nodes = [
        TARGET if node == TARGET and i == len(path) - 1 else check_node(node, model.shape)
        for i, node in enumerate(path)
    ]
    for sender, receiver in pairwise(nodes):
        at = written_at(whole(sender) if sender is not nodes[0] else sender)
        if receiver == TARGET:
            if at > to:
                raise InputError(f"{metric.name} is measured at {metric.point}, before {sender} writes")
            continue
        check_mixing(model, receiver)
        if at > read_at(receiver):
            raise InputError(f"{receiver} reads the stream before {sender} writes to it: no path leads there")
        if written_at(whole(receiver)) > to:
            raise InputError(f"{metric.name} is measured at {metric.point}, before {receiver} writes")
    return nodes


def check_mixing(model: OthelloModel, node: Node) -> None:
    """Raise InputError where a neuron's output depends on other neurons of its layer."""
    if node.kind == "neuron" and model.shape.act == "solu":
        raise InputError(f"{node} cannot be a receiver: SoLU mixes a layer's neurons; take 'L{node.layer} MLP'")
