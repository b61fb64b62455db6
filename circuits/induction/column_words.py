"""What every column of the table of rules holds, in words; figures are of held-out games unless they say otherwise."""

COLUMNS = {
    "unit": "the neuron, such as L5N1393",
    "layer": "its layer",
    "neuron": "its number in the layer",
    "status": "explained, partly, clock, unexplained or dead, by the thresholds of circuits.induction.records",
    "source": "where the rule comes from: tree or conjunction",
    "rule": "the rule, as circuits.rules.text reads it",
    "literals": "literals of the rule",
    "terms": "ANDs that the rule is an OR of",
    "mean_on": "mean activation where the rule holds, training games",
    "mean_off": "mean activation where it fails, training games",
    "threshold": "activation of most F1, training games",
    "base_rate": "share of positions at which the rule holds",
    "positives": "positions at which the rule holds",
    "variance_explained": "of the activation, by the two means of the rule",
    "variance_explained_low": "lower end of the 95 % interval over games",
    "variance_explained_high": "upper end of the 95 % interval over games",
    "precision": "of positions where the activation is above the threshold, the share where the rule holds",
    "recall": "of positions where the rule holds, the share where the activation is above the threshold",
    "f1": "their harmonic mean",
    "skill": "how far F1 gets from that of a neuron that is always on to 1",
    "alternatives": "rules that training and tuning games do not tell apart from it, none equivalent to it",
    "refined": "longer rules that seem better by 3 standard errors, left out for a literal's price or for many tries",
    "unseen": "training and tuning positions at which one more literal could matter and would not have shown",
    "complete": "whether nothing that could be added to the rule is beyond chance on the training games",
    "tree": "R2 of the tree of full depth",
    "tree_4": "R2 of the tree cut at depth 4",
    "ply": "variance explained by the means of the plies",
    "tree_published": "R2 of a tree grown as published (320 literals, depth 8, plies 5-30, 600 games)",
    "shuffled": "variance explained by the rule on activations dealt to other games at the same ply",
    "agreement": "mean F1 between this rule and those found on random halves of the training games",
    "same": "share of those that are equivalent to it",
    "mean": "mean activation",
    "sd": "standard deviation of the activation",
    # the census: circuits.census.records
    "by_mover": "variance explained by the means with black and with white to move",
    "by_move": "variance explained by the means for each square just played",
    "peak_ply": "the ply of the highest mean, training games",
    "played": "the best single fact of the kind just played",
    "played_r2": "variance that it explains",
    "played_skill": "its skill, where it explains a tenth or more",
    "names_played": "whether the rule says what was just played",
    "flipped": "the best single fact of the kind flipped by the last move",
    "flipped_r2": "variance that it explains",
    "flipped_skill": "its skill, where it explains a tenth or more",
    "names_flipped": "whether the rule says what was just flipped",
    "change": "change of the activation behind what is written: between the rule's levels, or top 5 % against the rest",
    "from_rule": "whether that is between the rule's levels",
    "board_writes": "squares whose state in the checkpoint it writes, beyond what any vector would",
    "board": "the first of them, with log-odds",
    "move_writes": "moves whose logits it writes directly",
    "moves": "the first of them, with logits",
    "partners": "under each map of the board that keeps the start, the neuron that does the same on images",
    "twin": "the neuron of its layer that does the most alike",
    "twin_r": "their correlation, means at each ply taken off",
    "has_twin": "whether that is mutual and high",
    "groups": "groups of the rule's terms that share no square and carry by themselves",
    "further": "a fact on other squares that says most where the rule fails",
    "further_r2": "variance that it explains there",
    "further_rise": "by how much of mean_on - mean_off it lifts the activation there",
    "unrelated": "whether that is enough to call it a further, unrelated rule",
    "patterns": "patterns (ways of making a move legal) that terms of the rule imply",
    "exactly": "those that a term is",
}


def about(name: str) -> str:
    """What a column holds.

    Raises:
        KeyError: it is none of the table's.
    """
    if name.startswith("other_"):
        return f"the best rule of the other source: {COLUMNS[name.removeprefix('other_')]}"
    return COLUMNS[name]
