"""The captions of a head's page: what is shown, in which unit, over what, and how it was made."""

from reports.heads.records import HeadRecord
from reports.heads.words import SIDES
from reports.text import count, number, percent


def captions(r: HeadRecord) -> dict[str, str]:
    """A caption for each figure; the template adds the sample that most were computed over."""
    a, m, x = r.attention, r.moves, r.reading
    uniform = "beside what attention shared equally among the moves so far would give (tick)"
    found = {
        "groups": (
            f"Share of attention paid to moves of each kind, {uniform}. Whose move it was follows from the boards, "
            "passes included. The move just played, mine and theirs add up to all of it, and so do the discs that are "
            "mine and theirs now; the other groups overlap. 95 % intervals: bootstrap over games."
        ),
        "offset": (
            "Mean attention to the move so many plies back, over the positions that have one; dashed: uniform "
            "attention. Even numbers back (orange) are moves of the side that just moved, odd ones (blue) of the side "
            "to move, unless somebody had to pass in between. Far back only late positions have such a move, and it is "
            "one of the first."
        ),
        "displacement": (
            "Attention relative to uniform attention (attention / uniform − 1) by where the move attended to lies "
            "from the last move’s square, outlined in the middle: rows down, columns to the right. Full blue: twice "
            "as much as uniform or more; full orange: none."
        ),
        "source": (
            "The same by the square of the move attended to, wherever the last move was. The numbers are the strongest "
            "cells; nobody ever plays on the centre."
        ),
        "by_ply": (
            "The mean pattern: each row a ply that attends, each column the ply of a move attended to; full blue is "
            f"{percent(max(v for row in a.by_ply for v in row))}. A pattern that is the same in every game would be "
            "all there is to see here."
        ),
        "dependence": (
            "Distance: total variation, the share of attention that would have to be moved to turn one pattern into "
            "the other; 0 the same, 100 % nothing in common. Mean patterns are of training games, everything is "
            "measured on held-out games."
        ),
        "examples": (
            "Cells: share of attention on the square of each move so far, full blue the largest of the position. "
            "Filled discs are mine, rings theirs; last move outlined, discs that it flipped dotted."
        ),
        "own": (
            "What attending fully to a source writes on the direction of that very square: the mean value vector of "
            "the sources where the square was just played, less that of their plies, through the head’s output "
            f"weight, as a coordinate on the probe’s unit direction at {m.write_hook}. The training data’s values, so "
            "the same thing at every layer."
        ),
        "around": (
            "The same by where the written square lies from the source, mean over source squares: the middle is the "
            "source’s own square. Both maps are on one scale."
        ),
        "links": (
            f"The weights alone: cosine of a square’s direction at {m.read_hook}, moved through the head’s values and "
            f"output, with a direction of the same square at {m.write_hook}; mean over squares, beside the root mean "
            "square between different squares. No positions enter. Strongest first, by the ratio of the two."
        ),
        "separation": (
            "The head’s contribution to a square’s own direction, mean where the fact holds less mean where it fails "
            "(mine against theirs, empty against occupied), in coordinates; the mean at each ply is taken out first, "
            "so that the ply alone gives zero. No LayerNorm lies between a head’s output and the stream it writes to."
        ),
        "separations": (
            "The same pooled over squares, and as a share of the whole stream’s at that point, to which all "
            "components written so far add up exactly. A dash: the stream’s own could be zero. 95 % intervals: "
            "bootstrap over games."
        ),
        "logits": (
            "Mean direct contribution to each move’s logit, relative to the mean over the 60 moves, ply means removed, "
            "divided by the final LayerNorm’s scale at each position (frozen), by what the move is there. Pooled over "
            f"squares, legal less illegal on an empty square: {number(r.writes.gap.mean, 2, sign=True)} of the final "
            f"stream’s {number(r.writes.gap_whole, 3)}."
        ),
        "alone": (
            f"Share of squares whose state (empty, theirs, mine) is read right: {x.method}. The map has the accuracy "
            "at each square. 95 % intervals: bootstrap over games."
        ),
        "connections": (
            "Heads: |A B| / (|A| |B|), Frobenius norms, A what the earlier head moves (OV), B the later one’s values "
            "(V), queries (Q) or keys (K). Neurons: the share of norm that survives from the neuron’s output weight "
            "through what the head moves, or from that to the neuron’s input weight. Random: the largest of as many "
            "drawn from a normal distribution, of the same ranks. A property of the weights: no positions enter."
        ),
    }
    if r.causes is not None:
        w = r.causes.methods[0]
        found["depth"] = (
            "Change of the share of squares that the usual probes read right with the head’s output set to its mean "
            "by ply at every position, from the point it writes to (½: between attention and MLP) to the last layer, "
            "by the square’s true state. Everything after the head is recomputed, LayerNorms included. 95 % "
            f"intervals: bootstrap over games; {count(w.positions)} positions of {count(w.games)} held-out games."
        )
        found["means"] = (
            "All squares: filled, read where the head writes; hollow, after the last layer. Its mean pattern: its own "
            "values under the mean attention of the ply. Turned at random: the control, a change of equal norm in "
            "random directions. It can cost more squares than the loss of what the head says, as it falls on every "
            "square’s direction alike; what it does to the prediction is in the table below."
        )
        found["methods"] = (
            "The head’s output is replaced at every ply and everything after it recomputed. Board: change of the "
            "share of squares read right where it writes, by their true state. KL: of the original prediction to the "
            "ablated one. Frozen pattern: attention replaced by its mean at the ply, so that only where it looks in "
            "this game is lost. Turned at random: the control, a change of equal norm in random directions. Intervals "
            "as above; positions and games by row: "
            + "; ".join(f"{m.method} {count(m.positions)} of {count(m.games)}" for m in r.causes.methods)
            + "."
        )
    return found


def fact_note(fact: str) -> str:
    """A direction in words: "mine − theirs"."""
    above, below = SIDES[fact]
    return f"{above} − {below}"
