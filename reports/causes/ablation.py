"""What happens without a neuron: its activation replaced at single positions, beside random neurons of its layer.

Each position is a run of its own, in which the neuron is replaced there and nowhere earlier. Its words are those of
`circuits.causes.ablation`, with which it agrees exactly on the same positions; only the positions shown are computed.
"""

import torch
from einops import einsum
from jaxtyping import Bool, Float
from torch import Tensor

from circuits.behaviour import legal_tokens
from circuits.causes.ablation import logits, move_reader, relative, scale
from circuits.causes.effects import summarise
from circuits.causes.incremental import normalised
from circuits.causes.recorded_games import Positions, rerun
from circuits.gpt import activation
from circuits.notation import LABELS, N_SQUARES, SQUARE_TOKEN, Unit
from reports.causes import records as c
from reports.causes.controls import at_own_places, random_neurons
from reports.causes.places import draw, places
from reports.causes.subject import Subject, effect, move_vector, share_of
from reports.headline import what

#: the name of a conditional mean, over the positions where the fact fails
FAILS = "mean where the fact fails"


def without(subject: Subject) -> c.Without:
    """The neuron's ablation at the places that its fact, or its activation, tells apart."""
    bench, recorded, unit = subject.bench, subject.recorded, subject.unit
    model, layer = recorded.model, unit.layer
    names, masks = places(subject)
    drawn = [draw(bench, mask, bench.seed + i) for i, mask in enumerate(masks)]
    at = Positions(*(torch.cat([getattr(d, name) for d in drawn]) for name in ("row", "ply")))
    place = torch.cat([torch.full((len(d),), i) for i, d in enumerate(drawn)])

    others = random_neurons(bench, unit)
    mid = normalised(recorded.stream("mid", layer, at), model.shape.eps)
    acts = activation(model.shape.act)(mid @ model.W_in(layer) + model.b_in(layer))
    own = acts[:, unit.index]
    values = {name: value.to(own) for name, value in _replacements(subject, at).items()}
    means = _training_means(subject, others).to(own)
    changes = torch.stack([v - own for v in values.values()])[..., None] * model.W_out(layer)[unit.index]
    random = (means[:, None] - acts[:, others].T)[..., None] * model.W_out(layer)[others][:, None]
    lost = torch.cat([changes, random])

    square, why = subject.square
    before = recorded.stream("pre", model.shape.n_layers, at)
    s = scale(model, before)
    after, later = rerun(
        recorded, at, layer + 1, recorded.stream("pre", layer + 1, at) + lost, move_vector(model, square) / s
    )
    found = _effects(subject, at, before, after)
    move = int(SQUARE_TOKEN[square]) - 1
    direct = move_reader(model)(changes)[..., move] / s[:, 0]
    shown, methods, controls = [], [], []
    for i, (name, words) in enumerate(names):
        here = place == i
        game = at.row[here]
        board = summarise(found["total"][0, here].T, game)
        shown.append(
            c.Place(
                name, words, int(here.sum()), len(game.unique()), float(own[here].mean()),
                *(_on_squares(t) for t in (board.mean, board.low, board.high, board.p_family)),
            )
        )  # fmt: skip
        for v, (method, value) in enumerate(values.items()):
            d, t = direct[v, here], found["total"][v, here, move]
            figures = summarise(torch.stack([d, t, found["kl"][v, here], found["illegal"][v, here]]), game, flips=1)
            single = float(value[0]) if bool((value == value[0]).all()) else None
            undone = share_of(d - t, d, game)
            first, second, *rest = (effect(figures, k) for k in range(4))
            methods.append(c.Method(method, single, i, first, second, undone, *rest))
        for figure, data in (("logit", found["total"][..., move]), ("KL", found["kl"])):
            mean = data[:, here].double().mean(1).tolist()
            controls.append(c.Control(figure, i, mean[0], tuple(mean[len(values) :])))
    answers, layers, norm = _answers(
        subject, before, after[0], {k: v[0] for k, v in later.items()}, direct[0], place, at
    )
    plain = list(values).index("mean")
    own = float(found["total"][plain, place == 0, move].double().mean())
    return c.Without(
        square=LABELS[square],
        why=why,
        fact=what(subject.fit) if subject.fit else None,
        places=tuple(shown),
        methods=tuple(methods),
        controls=tuple(controls),
        own_places=at_own_places(bench, unit, own),
        answers=answers,
        undone_by_layers=layers,
        undone_by_norm=norm,
        random_units=tuple(str(Unit(layer, "neuron", i)) for i in others),
        words=_words(subject, len(at)),
        examples=tuple(_example(subject, at, before, after[0], move, place, i) for i in range(len(names))),
    )


def _replacements(subject: Subject, at: Positions) -> dict[str, Float[Tensor, "position"]]:
    """What the neuron is set to at each position, by method; the first is the one that boards are of."""
    gallery, acts = subject.bench.gallery, subject.activations
    train, n = gallery.train, len(at)
    found = {}
    if subject.fit is not None:  # the overall mean of a frequent fact's neuron would switch it half on elsewhere
        found[FAILS] = acts[_usual(subject)].mean().expand(n)
    found |= {"mean": acts[train].mean().expand(n), "zero": torch.zeros(n)}
    generator = torch.Generator().manual_seed(subject.bench.seed)
    donors = torch.empty(n)
    for ply in at.ply.unique().tolist():
        pool = acts[train & (gallery.ply == ply)]
        pool = pool if len(pool) else acts[train]
        here = at.ply == ply
        donors[here] = pool[torch.randint(len(pool), (int(here.sum()),), generator=generator)]
    return found | {"another game’s": donors}


def _usual(subject: Subject) -> Bool[Tensor, "position"]:
    """The training positions that a neuron's usual value is the mean of: without its fact, where it has one."""
    train = subject.bench.gallery.train
    return train if subject.fit is None else train & ~subject.holds()


def _training_means(subject: Subject, neurons: list[int]) -> Float[Tensor, "neuron"]:
    gallery = subject.bench.gallery
    sample = gallery.mining.sample[subject.unit.layer, neurons][:, gallery.where]
    return sample[:, _usual(subject)].float().mean(1)


def _effects(subject: Subject, at: Positions, before: Tensor, after: Tensor) -> dict[str, Tensor]:
    """Changes of the logits [variant, position, move], KL and the probability of illegal moves [variant, position]."""
    model, gallery = subject.recorded.model, subject.bench.gallery
    was, now = logits(model, before), logits(model, after)
    log_p, log_q = was.log_softmax(-1), now.log_softmax(-1)
    rows = gallery.row[~gallery.train].unique()[at.row]
    legal = legal_tokens(gallery.boards.legal[rows, at.ply]).to(was)
    return {
        "total": relative(now - was),
        "kl": (log_p.exp() * (log_p - log_q)).sum(-1),
        "illegal": ((log_p.exp() - log_q.exp()) * legal).sum(-1),
    }


def _answers(subject: Subject, before, after, later, direct, place, at):
    """What later parts add to the square's logit, the final LayerNorm's change of scale among them; and the shares of
    the direct effect that the layers, and the LayerNorm, take back."""
    if not later:
        return (), None, None
    model, (square, _), here = subject.recorded.model, subject.square, place == 0
    game = at.row[here]
    read = einsum(after, move_vector(model, square), "position d_model, d_model -> position")
    norm = read * (1 / scale(model, after) - 1 / scale(model, before))[:, 0]
    parts = later | {"final LayerNorm": norm}
    s = summarise(torch.stack([v[here] for v in parts.values()]), game)
    answers = tuple(c.Answer(name, effect(s, i, p=True)) for i, name in enumerate(parts))
    layers = torch.stack(list(later.values())).sum(0)
    return answers, *(share_of(-part[here], direct[here], game) for part in (layers, norm))


def _example(subject: Subject, at: Positions, before, after, move: int, place, i: int) -> c.Ablated:
    k = int((place == i).nonzero()[0])
    model, games = subject.recorded.model, subject.recorded.games
    was, now = (float(relative(logits(model, x[k]))[move]) for x in (before, after))
    return c.Ablated(str(games.address(int(at.row[k]), int(at.ply[k]))), i, was, now - was)


def _words(subject: Subject, n: int) -> str:
    gallery = subject.bench.gallery
    return (
        f"replaced at the position that is read and nowhere earlier; everything after it recomputed, LayerNorms "
        f"included; direct effects with the final LayerNorm frozen. Means and other games’ activations are of "
        f"{int(gallery.train.sum()):,} positions of the {gallery.n_train} training games; measured on {n} positions of "
        f"the {gallery.n_held_out} held-out games, drawn with seed {subject.bench.seed}, one a game as far as there "
        "are games"
    )


def _on_squares(moves: Float[Tensor, "move"]) -> tuple[float | None, ...]:
    place = SQUARE_TOKEN.tolist()
    return tuple(float(moves[place[s] - 1]) if place[s] else None for s in range(N_SQUARES))
