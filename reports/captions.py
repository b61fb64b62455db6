"""The captions of a neuron's page: what is shown, in which unit, over what, and how it was made."""

from collections.abc import Sequence

from reports.fit_records import Sample
from reports.headline import listed
from reports.index_records import ProbeRow
from reports.records import NeuronRecord
from reports.text import count, number, percent


def sample_words(sample: Sample) -> str:
    """What a figure was computed over: "12,345 positions of 2,000 held-out games"."""
    split = {"all": "", "train": "training ", "held-out": "held-out "}[sample.split]
    note = f" ({sample.note})" if sample.note else ""
    return f"{count(sample.positions)} positions of {count(sample.games)} {split}games{note}."


def captions(r: NeuronRecord) -> dict[str, str]:
    """A caption for each figure; the template adds the sample that the figure was computed over."""
    ply = percent(max(0.0, r.patterns.ply_variance_explained))
    weights_only = "A property of the weights: no positions enter."
    return {
        "reads": (
            f"Cosine of the input weight (LayerNorm folded in) with the probe’s directions at {r.reads.hook}: "
            "mine − theirs, and empty − ½(mine + theirs). "
            f"{weights_only} Weight norm {number(r.reads.norm)}, bias {number(r.reads.bias)}. "
            "A dash marks a centre square, which is never empty or played."
        ),
        "spectrum": (
            "Histogram of the activation after the non-linearity. Counts are on a logarithmic scale, both sets "
            "of bars start at the axis. Below: the share of each bin in which the fact holds; dashed, its base "
            "rate."
        ),
        "by_ply": "Activation against ply; ply t is the state after t + 1 moves.",
        "patterns": (
            f"The best of {count(r.patterns.n_candidates)} by {r.patterns.criterion}. Facts and thresholds are "
            "chosen on the training games, scores are of the held-out games. 95 % interval of F1: bootstrap over "
            f"games, {count(r.patterns.bootstrap_rounds)} rounds. Always on: F1 of a neuron that fires "
            f"everywhere. Shuffled: {r.patterns.shuffle}. Variance: share of the activation’s variance explained "
            f"by the fact, 0 where it predicts worse than the mean does; the ply alone explains {ply}."
        ),
        "squares": (
            "Share of the highest activations in which a square is empty, theirs or mine, minus its share in all "
            "positions; 0.10 is ten percentage points."
        ),
        "means": (
            "Mean activation over the positions where the square is in that state, minus the overall mean "
            f"{number(r.conditional_means.mean)}. The standard deviation over positions is "
            f"{number(r.conditional_means.sd)}. A dash: the square is never in that state."
        ),
        "logits": (
            "Direct write to each move’s logit per unit of activation, relative to the mean over the 60 moves; "
            "final LayerNorm folded in and its scale held at "
            f"{number(r.writes.logit_scale)} ({r.writes.logit_scale_note}); nothing else here depends on positions."
        ),
        "writes": (
            f"Cosine of the output weight with the probe’s directions at {r.writes.hook}. {weights_only} "
            f"Weight norm {number(r.writes.norm)}."
        ),
        "neighbours": (
            f"{sentence_case(r.neighbours.measure)}; of {count(r.neighbours.n_upstream)} units upstream and "
            f"{count(r.neighbours.n_downstream)} downstream, strongest first. {weights_only} Whether two units "
            "are ever active together is not in it. Beside each neuron the single fact that describes it best, chosen "
            "on the training games, and its F1 on the held-out ones, as for this one above."
        ),
    }


def probe_caption(rows: Sequence[ProbeRow]) -> str:
    """What the index shows of the probe, naming the baselines that were measured and only those."""
    names = {
        "black_white": "the same probe in black / white",
        "random_model": "the same on a random-weights model",
        "constant": "the best constant guess",
    }
    shown = [text for field, text in names.items() if all(getattr(row, field) is not None for row in rows)]
    beside = f", beside {listed(tuple(shown))}" if shown else "; no baseline was measured for these probes"
    return f"Held-out accuracy of a linear probe for empty / theirs / mine at each square, by layer{beside}."


def sentence_case(text: str) -> str:
    """The same with a capital first letter."""
    return text[:1].upper() + text[1:]
