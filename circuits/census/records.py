"""What the census says of a neuron, beside its rule, and of a layer. Figures are of held-out games."""

from dataclasses import dataclass

from circuits.serial import Record


@dataclass(frozen=True)
class Written(Record):
    """Something a neuron writes: ``C0 mine`` (theirs, empty, occupied) in log-odds, ``+C0`` or ``-C0`` in logits.

    ``by`` is above 0: so far towards what is named, where the neuron's rule holds (or it is at its highest).
    """

    what: str
    by: float


@dataclass(frozen=True)
class Partner(Record):
    """What does on the games what a neuron does on their images (`circuits.census.partners`).

    ``same_rule``: whether its rule is the image of the neuron's; None where either has none.
    """

    map: str
    unit: str
    r: float
    second: float  # r of the second best
    found: bool  # mutual, and r of `partners.PARTNER` or more
    same_rule: bool | None


@dataclass(frozen=True)
class NeuronCensus(Record):
    """One neuron.

    Attributes:
        by_mover, by_move: variance explained by the means with black and with white to move, and for each square just
            played; ``peak_ply``: of the highest mean. (By ply: `NeuronRule.ply`.)
        played, flipped: the best single literals of these kinds, what they explain, and their skill where that is
            `roles.ROLE` or more; names_played, names_flipped: whether the rule has such a literal.
        change: of the activation, behind what is written; from_rule: by the rule's levels, else the highest 5 %.
        board_writes, move_writes: how many squares' states and moves; board, moves: the first of them.
        partners: one for each map; twin, twin_r: the neuron of its layer that does the most alike; has_twin: that is
            mutual, and its r `partners.PARTNER` or more.
        groups: groups of the rule's terms that share no square and carry by themselves; 0 without a rule.
        further: a fact on other squares that says most where the rule fails, what it explains there, and by how much
            of mean_on - mean_off it lifts the activation; unrelated: whether that is enough to call it a further rule.
        patterns: those that terms of its rule imply; exactly: those that they are.
    """

    unit: str
    by_mover: float
    by_move: float
    peak_ply: int
    played: str
    played_r2: float
    played_skill: float | None
    names_played: bool
    flipped: str
    flipped_r2: float
    flipped_skill: float | None
    names_flipped: bool
    change: float
    from_rule: bool
    board_writes: int
    board: tuple[Written, ...]
    move_writes: int
    moves: tuple[Written, ...]
    partners: tuple[Partner, ...]
    twin: str
    twin_r: float
    has_twin: bool
    groups: int
    further: str | None
    further_r2: float | None
    further_rise: float | None
    unrelated: bool
    patterns: tuple[str, ...]
    exactly: tuple[str, ...]

    @property
    def has_partner(self) -> bool:
        """Under one of the maps at least."""
        return any(partner.found for partner in self.partners)


@dataclass(frozen=True)
class LayerCensus(Record):
    """A layer's neurons, and what chance would give.

    Attributes:
        chance: by map (and "identity", for twins) the 99.9 % of r over pairs that are no partners.
        board_bar, move_bar: |z| beyond which a neuron writes (`circuits.census.writers`).
        partner_games: whose images were run; half of them chose.
    """

    layer: int
    neurons: tuple[NeuronCensus, ...]
    chance: dict[str, float]
    board_bar: float | None
    move_bar: float
    partner_games: int
