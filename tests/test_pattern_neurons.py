"""Pattern neurons: planted ones are found, the two rules differ where they should, and all equals the slow way."""

from dataclasses import dataclass

import pytest
import torch

from circuits.best_facts import best_facts
from circuits.checkpoints import Shape
from circuits.errors import InputError
from circuits.fact_scores import f1_of
from circuits.features import PATTERN_INDEX, PATTERNS, parse_pattern, patterns_matrix
from circuits.games import generate
from circuits.mining import mine
from circuits.othello import replay
from circuits.othello_model import OthelloModel
from circuits.pattern_neurons import FRACTIONS, maxima, pattern_neurons, recalls
from circuits.patterns import FACTS, Gallery
from circuits.plain import PlainModel


def pattern(text: str) -> int:
    return PATTERN_INDEX[parse_pattern(text)]


# ---- the slow way, word by word


def slowly(model, games, threshold, fractions, min_hits, which):
    """{(layer, neuron): (released, patterns, strict, strict patterns)} by the definition, for some neurons."""
    first, rest = games[: len(games) // 3], games[len(games) // 3 :]
    hooks = [f"blocks.{i}.mlp.hook_post" for i in range(model.shape.n_layers)]

    def positions(part):
        boards = part.boards()
        _, acts = model.run(part.inputs, save=hooks)
        return patterns_matrix(boards[boards.valid]), [acts[h][boards.valid] for h in hooks]

    _, maxima_ = positions(first)
    holds, acts = positions(rest)
    totals, found = holds.sum(0).tolist(), {}
    for layer, act in enumerate(acts):
        for neuron in which[layer]:
            top = abs(maxima_[layer][:, neuron].max())
            active = [act[:, neuron] > f * top for f in fractions]
            hits = [(a[:, None] & holds).sum(0).tolist() for a in active]  # [fraction][pattern]

            def caught(h, p):
                return h[p] >= min_hits and h[p] / totals[p] > threshold

            own = [p for p in range(len(PATTERNS)) if any(caught(h, p) for h in hits)]
            if not own or len({PATTERNS[p].square for p in own}) > 1:
                continue
            released, strict = False, set()
            for a, h in zip(active, hits, strict=True):
                on = int(a.sum())
                if on and sum(h[p] for p in own) / on > threshold:
                    released = True
                if on and int((a & holds[:, own].any(1)).sum()) / on > threshold:
                    strict |= {p for p in own if caught(h, p)}
            found[layer, neuron] = (released, own, bool(strict), sorted(strict))
    return found


@pytest.mark.parametrize("threshold, min_hits", [(0.7, 6), (0.9, 3)])
def test_equals_the_slow_way(tiny, threshold, min_hits):
    games = generate(45, seed=5)
    fractions = (0.0, 0.25, 0.5, 0.75)
    (found,) = pattern_neurons(tiny, games, [threshold], fractions=fractions, min_hits=min_hits)
    which = found.released.clone()
    which[:, ::4] = True
    which = [row.nonzero().flatten().tolist() for row in which]
    slow = slowly(tiny, games, threshold, fractions, min_hits, which)
    assert found.released.nonzero().tolist() == [list(k) for k, v in slow.items() if v[0]]
    assert found.strict.nonzero().tolist() == [list(k) for k, v in slow.items() if v[2]]
    for (layer, neuron), (released, own, _, strict) in slow.items():
        assert found.patterns[layer, neuron].nonzero().flatten().tolist() == (own if released else [])
        assert found.strict_patterns[layer, neuron].nonzero().flatten().tolist() == strict
    assert (found.games, found.maxima_games) == (30, 15)
    assert found.released.sum() > found.strict.sum() and (found.strict.any() or threshold == 0.9)
    assert len(slow) > found.released.sum()  # some have patterns and no precision


# ---- planted truth


@dataclass(frozen=True, eq=False)
class Planted(OthelloModel):
    """A model whose activations are written down: neurons by what they do (see `plant`)."""

    table: object = None

    def weight(self, name):
        return torch.zeros(1, 61)

    def check_hooks(self, names):
        pass

    def with_weights(self, weights, card, name):
        raise NotImplementedError

    def _run(self, inputs, wanted, edit, start_at, stop_at):
        boards = replay(inputs.to(torch.uint8))
        holds = patterns_matrix(boards).unflatten(0, inputs.shape)
        # From 0 to 1, the same for the same position, and spread evenly.
        random = (inputs.cumsum(1) * 0.618034) % 1.0
        acts = self.table(holds, random)
        return torch.zeros(*inputs.shape, 61), dict.fromkeys(wanted, acts)


NORTH, EAST, LONG, ELSEWHERE = "legal C0 via S x1", "legal C0 via E x1", "legal C0 via E x2", "legal F5 via N x1"


def plant(holds, random):
    def on(*names):
        return torch.stack([holds[..., pattern(n)] for n in names]).any(0)

    def at(where, inside, outside=-0.1):
        return torch.where(where, inside, outside)

    high, low = 0.5 + 0.5 * random, 0.3 * random
    neurons = [
        at(on(NORTH), high),  # 0: one pattern
        at(on(NORTH, EAST, LONG), high),  # 1: three ways to one move
        at(on(NORTH, ELSEWHERE), high),  # 2: two moves
        at(on(NORTH), random + 1e-6, low + 1e-6),  # 3: always on, so every pattern is recalled
        at(on(NORTH), random + 1e-6, torch.where(random < 0.3, low + 1e-6, -0.1)),  # 4: precise when high only
        at(on(NORTH) & (random < 0.85), high),  # 5: recall 0.85
        -1 - random,  # 6: never on
        at(on(NORTH) | (random < 0.0006), high),  # 7: on now and then elsewhere too
        torch.zeros_like(random),  # 8: dead
        at(on(NORTH, EAST, LONG), high) * 1e-4,  # 9: the same as 1, small
    ]
    return torch.stack(neurons, -1)


@pytest.fixture(scope="module")
def planted():
    return Planted(Shape(2, 8, 1, 8, 10), {}, "0", "planted", plant)


@pytest.fixture(scope="module")
def verdicts(planted):
    games = generate(180, seed=1)
    return {v.threshold: v for v in pattern_neurons(planted, games, (0.95, 0.8))}


def test_planted_neurons(verdicts):
    v = verdicts[0.95]
    for layer in range(2):
        assert v.released[layer].nonzero().flatten().tolist() == [0, 1, 4, 7, 9]
        # Neuron 4 has its recall at 0 and its precision from 0.3 on, never both.
        assert v.strict[layer].nonzero().flatten().tolist() == [0, 1, 7, 9]
    assert verdicts[0.8].released[0].nonzero().flatten().tolist() == [0, 1, 4, 5, 7, 9]


def test_their_patterns(verdicts):
    v = verdicts[0.95]

    def names(matrix):
        return {str(PATTERNS[i]) for i in matrix.nonzero().flatten().tolist()}

    assert names(v.patterns[0, 0]) == names(v.strict_patterns[0, 0]) == {NORTH}
    assert names(v.patterns[1, 1]) == names(v.strict_patterns[1, 9]) == {NORTH, EAST, LONG}
    assert names(v.patterns[0, 4]) == {NORTH} and not v.strict_patterns[0, 4].any()
    assert not v.patterns[:, [2, 3, 5, 6, 8]].any()
    assert names(v.covered()) == names(v.covered(slice(1, 2), strict=True)) == {NORTH, EAST, LONG}


def test_strict_implies_released(verdicts, tiny):
    found = [*verdicts.values(), *pattern_neurons(tiny, generate(45, seed=5), (0.7, 0.8), min_hits=6)]
    for v in found:
        assert (v.released | ~v.strict).all() and (v.patterns | ~v.strict_patterns).all()
        assert torch.equal(v.released, v.patterns.any(-1)) and torch.equal(v.strict, v.strict_patterns.any(-1))
        assert v.released.any()
    assert found[0].strict.any()


def test_hits_must_be_many_enough(planted):
    games = generate(180, seed=1)
    _, total = recalls(planted, games[60:])
    most = int(total[[pattern(NORTH), pattern(EAST), pattern(LONG)]].max())
    (v,) = pattern_neurons(planted, games, [0.95], min_hits=most + 1)
    assert not v.released.any() and not v.strict.any()


# ---- the counts


def test_recalls_add_up_over_games_and_are_exact(planted):
    games = generate(70, seed=3)
    (a, n), (b, m), (whole, total) = (recalls(planted, g) for g in (games[:33], games[33:], games))
    assert torch.equal(a + b, whole) and torch.equal(n + m, total)
    boards = games.boards()
    holds = patterns_matrix(boards[boards.valid])
    assert torch.equal(total, holds.sum(0))
    # Neuron 3 is always above 0, neuron 6 never, neuron 0 where its pattern holds; the same in bf16.
    assert torch.equal(whole[0, 3].long(), total) and not whole[0, 6].any()
    assert torch.equal(whole[1, 0].long(), (holds & holds[:, [pattern(NORTH)]]).sum(0))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(recalls(planted, games)[0], whole)


def test_maxima_are_of_valid_positions_and_magnitudes(planted, tiny, games):
    assert 1 <= float(maxima(planted, games)[0, 6]) < 1.01  # its largest is about -1
    _, acts = tiny.run(games.inputs, save=["blocks.1.mlp.hook_post"])
    expected = acts.popitem()[1][games.boards().valid].amax(0).abs()
    torch.testing.assert_close(maxima(tiny, games)[1], expected)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"games": 2}, "at least 3 games"),
        ({"thresholds": [1.0]}, "between 0 and 1"),
        ({"thresholds": []}, "between 0 and 1"),
        ({"fractions": (0.1, 0.2)}, "ascend from 0"),
        ({"fractions": (0.0, 0.2, 0.2)}, "ascend from 0"),
        ({"fractions": ()}, "ascend from 0"),
    ],
)
def test_what_is_refused(planted, options, message):
    options = {"games": 6, "thresholds": [0.9], "fractions": FRACTIONS} | options
    games = generate(options.pop("games"), seed=0)
    with pytest.raises(InputError, match=message) as info:
        pattern_neurons(planted, games, **options)
    assert "\n" not in str(info.value)


# ---- the best single facts


@pytest.fixture(scope="module")
def gallery(tiny):
    games = generate(60, seed=9)
    return Gallery(mine(tiny, games, sample_games=60), games)


def test_best_facts_are_those_of_the_pages(tiny, gallery):
    """With as long a shortlist: the same fact, and the same F1 on the held-out games, for some neurons."""
    for layer in range(3):
        found = best_facts(gallery, layer, shortlist=12)
        for neuron in range(0, tiny.shape.d_mlp, 7):
            best = gallery.score(tiny.unit(f"L{layer}N{neuron}")).scores[0]
            assert FACTS[found.fact[neuron]] == FACTS[best.fact]
            f1, counts = f1_of(best.held_out), best.held_out
            assert float(found.f1[neuron]) == pytest.approx(f1, abs=1e-6)
            rate = (counts[0] + counts[1]) / sum(counts)
            always = 2 * rate / (1 + rate)
            assert float(found.skill[neuron]) == pytest.approx((f1 - always) / (1 - always), abs=1e-6)


def test_a_planted_fact_is_found(planted):
    games = generate(300, seed=4)
    band = Planted(planted.shape, {}, "0", "planted", plant)
    mining = mine(_with_scale(band), games, sample_games=300)
    found = best_facts(Gallery(mining, games), 1)
    assert FACTS[found.fact[0]] == NORTH and float(found.f1[0]) == float(found.skill[0]) == 1
    assert float(found.skill[6]) < 0.1 and float(found.skill[8]) <= 0  # what never varies has no skill
    assert (found.skill <= found.f1 + 1e-6).all()


def _with_scale(model: Planted) -> Planted:
    def run(self, inputs, wanted, edit, start_at, stop_at):
        out, saved = Planted._run(self, inputs, wanted, edit, start_at, stop_at)
        return out, saved | {"ln_final.hook_scale": torch.ones(*inputs.shape, 1)}

    kind = type("Scaled", (Planted,), {"_run": run})
    return kind(model.shape, {}, "0", "planted", model.table)


def test_both_kinds_of_model_agree(tiny):
    from circuits import plain
    from circuits.checkpoints import read

    path = __file__.replace("test_pattern_neurons.py", "assets/tiny.safetensors")
    twin = plain.load(read(path))
    assert isinstance(twin, PlainModel)
    games = generate(45, seed=6)
    ours, theirs = (pattern_neurons(m, games, [0.5], min_hits=5)[0] for m in (twin, tiny))
    assert (ours.released != theirs.released).sum() <= 1 and ours.released.any()
