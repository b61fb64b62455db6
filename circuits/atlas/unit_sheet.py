"""Everything that an atlas has of one unit, as a record and as text."""

from dataclasses import dataclass

from circuits.atlas.answer_text import NONE, columns, number, paragraph, shown, signed, with_error
from circuits.serial import Record

#: the squares and moves that a text shows
SHOWN = 6
_ALIKE = {
    "twin": "too (twin)", "partner_half_turn": "on the half-turn", "partner_main_diagonal": "across the main diagonal",
    "partner_anti_diagonal": "across the anti-diagonal",
}  # fmt: skip


@dataclass(frozen=True)
class FactOf(Record):
    """A fact that describes a neuron, with its scores on held-out games."""

    fact: str
    f1: float
    f1_low: float
    f1_high: float
    precision: float | None
    recall: float | None
    base_rate: float
    skill: float


@dataclass(frozen=True)
class OnSquare(Record):
    """A unit at one square; see the table ``squares``. What is of the other kind of unit is None."""

    square: str
    state_r2: float | None
    mean_empty: float | None
    mean_theirs: float | None
    mean_mine: float | None
    reads_mine: float | None
    reads_empty: float | None
    writes_mine: float | None
    writes_empty: float | None
    logit: float | None
    separation_mine: float | None
    separation_empty: float | None
    logit_legal: float | None
    logit_illegal: float | None
    adds_legal: float | None
    adds_illegal: float | None
    gap: float | None
    gap_se: float | None


@dataclass(frozen=True)
class Edge(Record):
    """A unit before or after this one; ``effect`` on the later one's pre-activation for one sd of the earlier.

    ``sign``: 0 where the earlier one is a head, whose effect has a size alone; ``cosine`` is then None.
    """

    unit: str
    effect: float
    cosine: float | None
    z: float
    sign: int


@dataclass(frozen=True)
class Example(Record):
    """A position at which the neuron is highest or lowest."""

    end: str
    activation: float
    address: str
    moves: str


@dataclass(frozen=True)
class UnitSheet(Record):
    """One unit.

    Attributes:
        figures, words: its row of the table ``units``, without what is not known.
        measured: on what, by stage.
        squares: all 64.
        before: the neurons that raise and lower it most, and the heads that move it most; after: the neurons of which
            it is one of the strongest.
    """

    unit: str
    kind: str
    chance_cosine: float
    measured: dict[str, str]
    figures: dict[str, float]
    words: dict[str, str]
    facts: tuple[FactOf, ...]
    squares: tuple[OnSquare, ...]
    before: tuple[Edge, ...]
    after: tuple[Edge, ...]
    examples: tuple[Example, ...]

    def linked(self) -> list[tuple[str, list[Edge]]]:
        """`before` and `after` by what they do, strongest first; lists without an edge left out."""
        words = (
            (self.before, (("raise it", 1), ("lower it", -1), ("heads that move it", 0))),
            (self.after, (("it raises", 1), ("it lowers", -1), ("it moves", 0))),
        )
        found = [
            (word, sorted((e for e in own if e.sign == sign), key=lambda e: -abs(e.effect)))
            for own, kinds in words for word, sign in kinds
        ]  # fmt: skip
        return [(word, own) for word, own in found if own]

    def text(self) -> str:
        lines = [f"{self.unit}: a {self.kind} of layer {self.figures['layer']:.0f}; the pass: {self.measured['pass']}"]
        lines += self._neuron() if self.kind == "neuron" else self._head()
        return "\n".join([*lines[:1], "", *lines[1:]])

    def _interval(self, name: str, places: int = 2) -> str:
        value, low, high = (self.figures.get(name + end) for end in ("", "_low", "_high"))
        if value is None:
            return NONE
        said = number(value, places)
        return said if low is None or high is None else f"{said} [{number(low, places)}, {number(high, places)}]"

    def _needed(self) -> list[str]:
        f = self.figures
        if "kl" not in f:
            return []
        kl, direct, legal = (with_error(f[name], f.get(f"{name}_se")) for name in ("kl", "kl_direct", "legal_change"))
        error = f.get("top_changed_se")
        top = with_error(100 * f["top_changed"], None if error is None else 100 * error)
        return _line(
            "without it",
            f"KL {kl} nats in all, {direct} by the direct path; the likeliest move changes at {top} %; probability on "
            f"legal moves {legal} (at its ply's mean, ± standard error; {self.measured.get('ablations', NONE)})",
        )

    def _neuron(self) -> list[str]:
        f, w = self.figures, self.words
        lines = _line(
            "activation",
            f"mean {f['mean']:.3g}, sd {f['sd']:.3g}, {f['lowest']:.3g} to {f['highest']:.3g}, above 0 at "
            f"{100 * f['share_positive']:.1f} % of positions",
        )
        if not f["sd"]:
            return [*lines, *_line("", "it never varies"), *self._needed()]
        lines += _line(
            "variance",
            f"{f['ply_r2']:.2f} between the means of the plies (highest at ply {f['peak_ply']:.0f}), "
            f"{f['state_r2']:.2f} between the states of {w['state_square']}",
        )
        if "best_fact" in w:
            lines += _line(
                "best fact",
                f"{w['best_fact']}: F1 {self._interval('best_f1')}, skill {number(f.get('best_skill'))}, shuffled "
                f"{number(f.get('shuffled_skill'))} (held out: {self.measured.get('patterns', NONE)})",
            )
        if "rule_status" in w:
            lines += _line(
                "rule",
                f"{w['rule_status']}: {w.get('rule', 'none')}; R2 {self._interval('rule_r2')}, F1 "
                f"{number(f.get('rule_f1'))}; a tree {number(f.get('tree_r2'))} (held out: "
                f"{self.measured.get('rules', NONE)})",
            )
        alike = [f"{w[column]} does it {where}" for column, where in _ALIKE.items() if column in w]
        said = [w["roles"], *alike] if "roles" in w else alike
        if said:
            lines += _line("roles", "; ".join(said))
        lines += self._needed()
        moves = sorted((s for s in self.squares if s.logit is not None), key=lambda s: s.logit)
        up, down = (
            ", ".join(f"{s.square} {s.logit:+.2f}" for s in own) for own in (moves[: -SHOWN - 1 : -1], moves[:SHOWN])
        )
        lines += _line("moves", f"raises {up}; lowers {down} (direct logit for one sd, relative to the mean of the 60)")
        return [*lines, *self._legal(), "", *self._squares(), *self._edges(), *self._examples()]

    def _legal(self) -> list[str]:
        """The moves whose legal positions it separates from illegal ones, or blurs."""
        f, w = self.figures, self.words
        lines = []
        for name, does in (("separates", {"legal": "lifts it where legal", "illegal": "lowers it where not"}),
                           ("blurs", {"legal": "lowers it where legal", "illegal": "lifts it where not"})):  # fmt: skip
            if name in w:
                lines += _line(
                    name, f"legal from illegal {w[name]} most: gap {with_error(f[f'{name}_gap'], f[f'{name}_se'])} in "
                    f"all (logits), {does[w[f'{name}_side']]}",
                )  # fmt: skip
        return lines

    def _squares(self) -> list[str]:
        best = sorted((s for s in self.squares if s.state_r2 is not None), key=lambda s: -s.state_r2)[:SHOWN]
        rows = [
            [s.square, number(s.state_r2, 3), *map(number, (s.mean_empty, s.mean_theirs, s.mean_mine)),
             *map(signed, (s.reads_mine, s.reads_empty, s.writes_mine, s.writes_empty))]
            for s in best
        ]  # fmt: skip
        head = ["square", "R2", "empty", "theirs", "mine", "reads m", "reads e", "writes m", "writes e"]
        return [*columns(head, rows, (0,)), *paragraph(
            "R2: variance between the means of the square's states, not held out; reads, writes: cosines with mine - "
            f"theirs (m) and empty - occupied (e); a random vector has ±{self.chance_cosine:.2f}"
        ), ""]  # fmt: skip

    def _edges(self) -> list[str]:
        lines = []
        for word, own in self.linked():
            said = word.replace("heads that move it", "heads")
            lines += _line(said, ", ".join(f"{e.unit} {number(e.effect, 2, e.sign != 0)}" for e in own[:SHOWN]))
        note = (
            "(pre-activation of the later for one sd of the earlier, direct, the LayerNorm at its mean; of heads the "
            "root mean square of what they add, ply means taken out, held out)"
        )
        return [*lines, *_line("", note), ""] if lines else []

    def _examples(self) -> list[str]:
        lines = []
        for end, word in (("top", "highest"), ("bottom", "lowest")):
            own = [e for e in self.examples if e.end == end][:3]
            if own:
                rows = [[number(e.activation), e.address, _last(e.moves)] for e in own]
                lines += columns([word.rjust(8), "where", "last moves"], rows, (1, 2))
        return lines

    def _head(self) -> list[str]:
        f, w = self.figures, self.words
        lines = []
        if "head_kind" in w:
            lines += _line(
                "kind",
                f"{w['head_kind']}: the deciding share is {self._interval('head_share')}; "
                f"{100 * f['head_agreement']:.0f} % of games give the same kind",
            )
            lines += _line(
                "pattern",
                f"{self._interval('tv')} from its ply's mean pattern (0: the ply says all), "
                f"{number(f.get('tv_uniform'))} from equal attention",
            )
            for facts, name in (("mine, theirs", "separation_mine"), ("empty or not", "separation_empty")):
                share = self._interval(f"{name}_share")
                said = "" if share == NONE else f", {share} of what the stream tells of it"
                lines += _line(facts, f"{self._interval(name)} in the stream's units{said}")
            lines += _line(
                "legal moves",
                f"direct logit {self._interval('logit_gap', 4)} above illegal ones on empty squares",
            )
            lines += _line("", f"(held out: {self.measured.get('heads', NONE)})")
        names = [name.removeprefix("attention_") for name in f if name.startswith("attention_")]
        lines += [*self._needed(), *self._legal(), "", *columns(
            ["attends to", "share", "equal attention"],
            [[n.replace("_", " "), number(f[f"attention_{n}"], 3), number(f.get(f"uniform_{n}"), 3)] for n in names],
            (0,),
        )]  # fmt: skip
        own = sorted(
            (s for s in self.squares if s.separation_mine is not None), key=lambda s: -abs(s.separation_mine)
        )[:SHOWN]  # fmt: skip
        if edges := self._edges():
            lines += ["", *edges[:-1]]
        if not own:
            return lines
        rows = [
            [s.square, signed(s.separation_mine), signed(s.separation_empty), signed(s.logit_legal, 3),
             signed(s.logit_illegal, 3)] for s in own
        ]  # fmt: skip
        return [*lines, "", *columns(["square", "mine", "empty", "legal", "illegal"], rows, (0,)), *paragraph(
            "mine, empty: what it writes along the direction where it holds less where it does not; legal, illegal: "
            "its direct logit of the move where legal, and where empty and illegal, less the ply's mean and relative "
            "to the mean of the 60 moves"
        )]  # fmt: skip


def _line(word: str, text: str) -> list[str]:
    return paragraph(text, word, 13)


def _last(moves: str, most: int = 12) -> str:
    own = moves.split()
    return ("… " if len(own) > most else "") + " ".join(own[-most:])


def info(key: str, provenance: dict, measured: dict[str, str], rows: dict[str, int]) -> str:
    """What an atlas is, in lines."""
    p = provenance
    lines = [f"Atlas {key} of {p.get('model_name', 'unnamed')}, model {shown(p.get('model'))}"]
    lines += [
        f"  {name:<18} {shown(p[name])}" for name in ("games_source", "fingerprint", "probes", "seed") if name in p
    ]
    lines += ["measured on"] + [f"  {stage:<18} {said}" for stage, said in measured.items()]
    return "\n".join([*lines, "tables"] + [f"  {name:<18} {n:>10,} rows" for name, n in rows.items()])
