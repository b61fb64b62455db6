"""The sentences of a model's page, each drawn from its numbers."""

from circuits.census import published
from circuits.census.replaced import KINDS, WHOLE, Replaced
from circuits.induction import as_published
from circuits.induction.records import CLOCK, EXPLAINED, PARTLY, TREE_EXPLAINED
from reports.model.charts import comparable
from reports.model.records import LISTED, ModelRecord
from reports.text import count, fixed, number, percent
from reports.verdicts import words as w


def total(r: ModelRecord, name: str) -> int:
    """A count summed over the layers."""
    return sum(getattr(x, name) for x in r.layers)


def neurons(r: ModelRecord) -> int:
    return total(r, "neurons")


def headline(r: ModelRecord) -> str:
    """How many neurons follow a rule, in one sentence."""
    n, found, partly = neurons(r), total(r, "explained"), total(r, "partly")
    none = total(r, "unexplained")
    where = "" if whole(r) else f" of {layer_names(r)}"
    return (
        f"{count(found)} of {count(n)} neurons{where} ({percent(found / n)}) follow a rule on the board that explains "
        f"more than half of their activation on games it was not found on; {count(partly)} more follow one in part"
        + (f", and for {count(none)} no rule explains {percent(PARTLY, 0)} for sure." if none else ".")
    )


def whole(r: ModelRecord) -> bool:
    """Whether the page is of all layers of the model."""
    return len(r.layers) == r.origin.n_layers


def layer_names(r: ModelRecord) -> str:
    """ "L0–L7", or the layers one by one where some are left out."""
    numbers = [x.layer for x in r.layers]
    if len(numbers) > 1 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"L{numbers[0]}–L{numbers[-1]}"
    return ", ".join(f"L{i}" for i in numbers)


def all_layers(r: ModelRecord) -> str:
    """ "all layers", or which where some are left out."""
    return "all layers" if whole(r) else layer_names(r)


def how(r: ModelRecord) -> str:
    """What the figures were measured on."""
    t = r.table
    return (
        f"{count(t.games)} games ({t.games_source}), split by transcript: rules found on {count(t.train_games)}, "
        f"chosen on {count(t.tune_games)}, measured on {count(t.held_out_games)} ({held_out(r)}). Activations after "
        "the non-linearity."
    )


def held_out(r: ModelRecord) -> str:
    t = r.table
    return f"{count(t.held_out_positions)} positions, plies {t.first_ply}–{t.last_ply}"


def statuses() -> str:
    """What the statuses mean."""
    return (
        f"Explained: the two means of the neuron’s rule explain more than {percent(EXPLAINED, 0)} of the held-out "
        f"variance of its activation, at the lower end of the 95 % interval over games; in part: {percent(PARTLY, 0)} "
        f"and more, at the same end; by the ply alone: the means of the plies explain more than {percent(CLOCK, 0)}, "
        f"and more than the rule. No rule above {percent(PARTLY, 0)} for sure: none of these; a tree, or a rule of a "
        "wide interval, may still say something."
    )


def rows_caption(r: ModelRecord) -> str:
    """Under the table of layers."""
    said = [
        f"Neurons. Tree > {TREE_EXPLAINED}: a regression tree of depth {r.table.depth} on {count(r.table.literals)} "
        f"facts explains more than that share of the variance of {held_out(r)} of {count(r.table.held_out_games)} "
        "held-out games; depth 4: cut there; grown as published (share of the layer): as in the publication (320 "
        f"facts, depth {as_published.DEPTH}, plies {as_published.FIRST}–{as_published.LAST}), on "
        f"{count(published_games(r))} training games, but with games, not positions, held out."
    ]
    share = sum(published.TREE_EXPLAINED) / published.NEURONS / len(published.TREE_EXPLAINED)
    if comparable(r):
        said.append(
            "Published model: the share of its neurons (2,048 a layer, 512 wide: a larger one; arXiv 2511.00059), "
            f"{count(as_published.GAMES)} games, held-out positions of the same games; the last lines are of the same "
            "layers as ours."
        )
    else:
        said.append(
            f"Published, of a model of 8 layers of 2,048 neurons (arXiv 2511.00059): {percent(share)} of all neurons, "
            f"from {percent(min(published.TREE_EXPLAINED) / published.NEURONS)} to "
            f"{percent(max(published.TREE_EXPLAINED) / published.NEURONS)} by layer."
        )
    return " ".join(said)


def published_games(r: ModelRecord) -> int:
    """On how many games trees were really grown as published."""
    return min(as_published.GAMES, r.table.train_games)


def shuffled(r: ModelRecord) -> str:
    """The control on shuffled activations."""
    tried = total(r, "shuffled_of")
    if not tried:
        return "No rule was tried on shuffled activations."
    found = total(r, "shuffled")
    return (
        f"On activations dealt to other games at the same ply, {count(found) if found else 'none'} of {count(tried)} "
        f"rules explains {percent(PARTLY, 0)} more than the ply alone does."
    )


def unexplained(r: ModelRecord) -> str:
    """What remains, plainly."""
    left = neurons(r) - total(r, "explained") - total(r, "dead")
    tree, nothing = total(r, "tree_only"), total(r, "nothing")
    dead = total(r, "dead")
    said = [f"{count(left)} neurons are not explained."] if left else ["Every neuron that varies is explained."]
    if tree:
        said.append(f"Of these a tree describes {count(tree)} well (above {TREE_EXPLAINED}) where no short rule does.")
    if nothing:
        said.append(
            f"Of {count(nothing)}, nothing found on these games, neither a rule nor a tree nor the ply, explains "
            f"{percent(PARTLY, 0)}: a longer rule, more games or other facts may."
        )
    if dead:
        said.append(f"{count(dead)} {'more never vary' if dead > 1 else 'more never varies'}.")
    return " ".join(said)


def replaced(r: ModelRecord, found: Replaced) -> str:
    """What is left of the model with rules in its neurons' place: of all layers together, or of the only one."""
    layers = {run.layer for run in found.runs}
    layer = None if None in layers else min(layers)
    own, whole = found.of(layer, "rules", KINDS[1]), found.of(layer, "means", WHOLE[0])
    kept = found.of(layer, "rules", KINDS[0])
    where = all_layers(r) if layer is None else f"L{layer}"
    if not own.neurons:
        return (
            f"No neuron of {where} is explained, so none becomes what its rule says. With all at their means the "
            f"prediction moves by {kl(whole)} nats."
        )
    said = (
        f"With the {count(own.neurons)} explained neurons of {where} set to what their rules say, and the other "
        f"{count(own.of - own.neurons)} to their means, the prediction moves by {kl(own)} nats ({kl(whole)} with all "
        f"at their means), and {top_n(own.top_n.value)} of its N likeliest moves are legal "
        f"({top_n(found.clean_top_n.value)} unchanged)."
    )
    return f"{said} With the others kept it moves by {kl(kept)} nats."


def top_n(share: float) -> str:
    """The share of the N likeliest moves that are legal: a percentage with two decimals wherever it stands."""
    return percent(share, 2)


def kl(run) -> str:
    return w.with_interval(run.kl, w.digits(run.kl))


def replaced_caption(r: ModelRecord, found: Replaced) -> str:
    said = (
        "KL from the model’s own prediction, in nats, and (top-N) the share of its N likeliest moves that are legal, "
        f"where N moves are; {count(found.positions)} positions of {count(found.games)} held-out games; neurons are "
        f"changed at plies {found.first_ply}–{found.last_ply} only, and measured there; 95 % intervals "
        "over games; every LayerNorm recomputed. Neurons that "
        "count as explained become what their rule (two levels) or tree (its leaf’s mean) says of the board; the rest "
        "of the layer their training means, or are kept. Random: as many neurons drawn at random "
        f"({found.random_sets} times) become what theirs say, the rest means. Same at means: the explained neurons at "
        "their means, the rest kept. Whole at means: all neurons of the layer. Trees were grown on "
        f"{count(r.table.literals)} facts and {percent(r.table.train_games / r.table.games, 0)} of the games."
    )
    if comparable(r):
        said += (
            " Published (arXiv 2511.00059): another, larger model; trees of neurons above 0.7, the rest at means; 320 "
            f"facts, {count(as_published.GAMES)} games, plies {as_published.FIRST}–{as_published.LAST}, split by "
            "position: not the same measurement."
        )
    return said


def best_lead() -> str:
    return f"The best explained neurons of each layer, at most {LISTED}, none that do not count as explained"


def explained_caption(r: ModelRecord) -> str:
    """Under the table of explained neurons' rules."""
    said = (
        "Means over the layer’s explained neurons: held-out variance explained, literals; how many rules are a tree’s, "
        "are an OR of several ANDs, cannot be told from another rule on these games"
    )
    if r.table.resamples:
        said += (
            f"; F1 between the rule and those found on {r.table.resamples} random halves of the training games, and "
            "the share of these that are equivalent to it"
        )
    else:
        said += f". {NOT_AGAIN}"
    return f"{said.removesuffix('.')}. {shuffled(r)}"


#: where no rule was found again
NOT_AGAIN = "Rules were not found again on random halves of the training games (--resamples 2 does that)."


def best_caption(r: ModelRecord) -> str:
    again = "Agreement: mean F1 with the rules found on random halves of the training games."
    again = again if r.table.resamples else NOT_AGAIN
    return (
        "By held-out variance explained by the rule’s two means, with its 95 % interval over games, beside what the "
        "means of the plies explain. F1, precision and recall of “activation "
        "above the threshold” (of most F1 on training games). Tree: held-out R² of the neuron’s "
        f"tree. {again} Also possible: other rules that training and tuning games do not tell apart from it. "
        f"{held_out(r)} of "
        f"{count(r.table.held_out_games)} held-out games."
    )


def literals(r: ModelRecord) -> str:
    """What explained rules are like, in a sentence."""
    found = total(r, "explained")
    if not found:
        return "No rule explains a neuron."
    mean = sum(x.literals * x.explained for x in r.layers if x.literals is not None) / found
    told = total(r, "not_told_apart")
    said = (
        f"The {count(found)} rules have {fixed(mean, 1)} literals on average; "
        f"{percent(total(r, 'several_terms') / found)} are an OR of several ANDs, and "
        f"{percent(total(r, 'from_trees') / found)} come from trees, the others from a search for conjunctions. For "
        f"{count(told)} ({percent(told / found)}) these games do not tell the rule from another one, which the table "
        "names."
    )
    agree = [(x.agreement, x.explained) for x in r.layers if x.agreement is not None]
    if agree:
        mean = sum(a * n for a, n in agree) / sum(n for _, n in agree)
        said += (
            f" Found again on random halves of the training games, rules agree with them at an F1 of {number(mean, 2)}."
        )
    return said
