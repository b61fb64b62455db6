"""Everything that pages are built from, opened together: a model, its probes, games, and one mining pass.

    from reports import open_model
    m = open_model()            # the bundled model, its probes, random games
    m.neuron("L3N17")           # its report, drawn in the cell
    m.head("L2H5")              # a head's

The mining pass over all neurons runs at the first question that needs it. It is kept in a cache folder under
a name made of everything it depends on, so it is never stale and never has to be asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import torch

from circuits.causes.recorded_games import RecordedGames
from circuits.checkpoints import Checkpoint
from circuits.editing.interventions import Editor, Method
from circuits.errors import InputError
from circuits.games import MIDDLE_BAND, Games
from circuits.induction.kept import table_of
from circuits.induction.table import RuleTable
from circuits.mining import FORMAT, SAMPLE_GAMES, Mining, mine, sample_of
from circuits.models import OthelloModel
from circuits.notation import Unit
from circuits.patterns import Gallery
from circuits.rules import Claim, Rule
from circuits.told import warn
from circuits.verdicts.readings import Ground
from circuits.verdicts.subjects import Subject
from probes import Evaluation, ProbeSet
from probes.editing import open_editor
from probes.head_study import FORMAT as HEADS_FORMAT
from probes.head_study import HeadStudy, fingerprint, study_heads
from reports.edits.page import EditReport, edit_report
from reports.explanation.page import ExplanationReport, explanation_report
from reports.heads.page import HeadReport
from reports.neuron import NeuronReport
from reports.verdicts.page import VerdictReport

SEED = 0


@dataclass
class Workbench:
    """A model with its probes and games; see `open_model`.

    Attributes:
        model: the processed model; checkpoint: its raw weights, for checks.
        probes: the linear probes, the checkpoint vocabulary.
        games: what is mined; seed: of games, samples and splits.
        plies: the band of plies that statistics are over.
        cache: folder for finished passes, or None to keep none.
    """

    model: OthelloModel
    checkpoint: Checkpoint
    probes: ProbeSet
    games: Games
    seed: int = SEED
    plies: slice = field(default_factory=lambda: MIDDLE_BAND)
    sample_games: int = SAMPLE_GAMES
    cache: Path | None = None
    evaluation: Evaluation | None = None  # the stored one, of bundled probes
    options: str = ""  # command-line options that reopen this bench, for the provenance
    arguments: str = ""  # the same in Python
    _moves: dict[int, torch.Tensor] = field(default_factory=dict, repr=False)
    _patterns: dict[int, torch.Tensor] = field(default_factory=dict, repr=False)  # by layer; see `head_positions`
    _own_places: dict[int, list] = field(default_factory=dict, repr=False)  # by layer; see `cause_controls`

    @cached_property
    def mining(self) -> Mining:
        """The pass over all neurons: from the cache, or run now."""
        path = self._mining_path()
        if path and path.is_file():
            try:
                return Mining.load(path)
            except InputError as error:
                warn(f"{error}; mining again")
        found = mine(
            self.model, self.games, sample_games=self.sample_games, plies=self.plies, seed=self.seed, progress="mining"
        )
        if path:
            try:
                found.save(path)
            except InputError as error:  # a cache that cannot be written costs time, not results
                warn(f"{str(error).replace('--out', '--cache')} (this pass is not kept)")
        return found

    @cached_property
    def gallery(self) -> Gallery:
        """The sampled games of the pass, split into training and held-out halves."""
        return Gallery(self.mining, self.games, seed=self.seed)

    @cached_property
    def held_out(self) -> RecordedGames:
        """The gallery's held-out games, run as far as causal questions need them; pages share what was run."""
        gallery = self.gallery
        rows = gallery.row[~gallery.train].unique()
        return RecordedGames(self.model, gallery.games[rows], gallery.band.stop)

    @cached_property
    def head_games(self) -> tuple[Games, Games]:
        """The games that heads are studied on, to learn from and held out: those of `gallery`, without its pass."""
        sampled = torch.isin(self.games.ids, sample_of(self.games, self.sample_games, self.seed)).nonzero().squeeze(1)
        return self.games[sampled[self.games.ids[sampled].argsort()]].split(0.5, self.seed)

    @cached_property
    def heads(self) -> HeadStudy:
        """Everything known about every head, on the sampled games and their split: from the cache, or computed now."""
        parts = (HEADS_FORMAT, self._key(), fingerprint(self.probes))
        key = sha256(repr(parts).encode()).hexdigest()[:16]
        path = self.cache and self.cache / f"heads-{key}.safetensors"
        if path and path.is_file():
            try:
                return HeadStudy.load(path)
            except InputError as error:
                warn(f"{error}; studying the heads again")
        found = study_heads(
            self.model, self.probes, *self.head_games, band=self.plies, seed=self.seed, progress="heads"
        )
        if path:
            try:
                found.save(path)
            except InputError as error:  # as above
                warn(f"{str(error).replace('--out', '--cache')} (this study is not kept)")
        return found

    @cached_property
    def editor(self) -> Editor:
        """Writes an edited board into the model; the means it needs are in the cache, or taken now."""
        return open_editor(self.model, self.probes, cache=self.cache, progress=True)

    @cached_property
    def editor_with_contrasts(self) -> Editor:
        """The same for the method "contrast": pairs of games are searched, which takes a minute."""
        return open_editor(self.model, self.probes, contrast=True, cache=self.cache, progress=True)

    @cached_property
    def rules(self) -> RuleTable | None:
        """This very model's table of rules: what ``othello-circuits rules`` left in the cache, or the bundled one."""
        try:
            return table_of(self.model.hash, self.cache)
        except InputError as error:
            warn(f"{error} (it is left out)")
            return None

    def move_probabilities(self, rows: list[int]) -> torch.Tensor:
        """The model's probabilities [row, ply, token] on some games, by row; pages often draw the same ones."""
        new = [row for row in rows if row not in self._moves]
        if new:
            probabilities = self.model(self.games[torch.tensor(new)].inputs).softmax(-1).cpu()
            self._moves.update(zip(new, probabilities, strict=True))
        return torch.stack([self._moves[row] for row in rows])

    def unit(self, name: str | Unit) -> Unit:
        """Parse and check a unit's name against this model."""
        return self.model.unit(name)

    def neuron(
        self, name: str | Unit, chosen: str = "asked for by name", rule: str | Rule | Claim | bool = True
    ) -> NeuronReport:
        """The report on one neuron: shows itself in Jupyter, saves itself as a page.

        Args:
            rule: tested on it, with the verdict on the page; True: that of the model's table of rules (`rules`), or,
                without one made on other games, the best that is found on the training games; False: none.

        Raises:
            InputError: no such neuron, or a rule that cannot be read.
            PageError: a sampled number of the record differs from what the raw weights and a fresh forward
                pass give.
        """
        from reports.build import neuron_record
        from reports.found_rule import found_rule
        from reports.verdicts.build import rule_of_neuron, verdict

        unit = self.unit(name)
        if unit.kind != "neuron":
            raise InputError(
                f"{unit} is a head: bench.head({str(unit)!r}), or othello-circuits head {unit}, reports on it"
            )
        tried, source = rule_of_neuron(self, unit) if rule is True else (rule, "given")
        found = None if tried is None or tried is False else verdict(self, unit, tried, source)
        record = neuron_record(self, unit, chosen, found)
        return NeuronReport(replace(record, found=found_rule(self.rules, unit)))

    def head(
        self, name: str | Unit, chosen: str = "asked for by name", rule: str | Rule | Claim | None = None
    ) -> HeadReport:
        """The report on one head: shows itself in Jupyter, saves itself as a page.

        Args:
            rule: tested on it, with the verdict on the page.

        Raises:
            InputError: no such head, or a rule that cannot be read.
            PageError: a sampled number of the record differs from what the raw weights and a fresh forward
                pass give.
        """
        from reports.heads.build import head_record
        from reports.verdicts.build import verdict

        unit = self.unit(name)
        if unit.kind != "head":
            raise InputError(
                f"{unit} is a neuron: bench.neuron({str(unit)!r}), or othello-circuits neuron {unit}, reports on it"
            )
        return HeadReport(head_record(self, unit, chosen, None if rule is None else verdict(self, unit, rule)))

    def edit(
        self, transcript: str, edits: Sequence[str | tuple[int, str]], method: Method | None = None, **options
    ) -> EditReport:
        """Edit squares of the board inside the model; see `reports.edits.page.edit_report`.

        Raises:
            InputError: an edit, a transcript or a method that is none.
        """
        return edit_report(self, transcript, edits, method, **options)

    def explain(self, transcript: str, move: str | None = None, **options) -> ExplanationReport:
        """Explain a move (by default the model's likeliest); see `reports.explanation.page.explanation_report`.

        Raises:
            InputError: a transcript that is none, or over; a move that nobody can ever make.
        """
        return explanation_report(self, transcript, move, **options)

    @cached_property
    def ground(self) -> Ground:
        """What verdicts are made on; see `reports.verdicts.build.ground`."""
        from reports.verdicts.build import ground

        return ground(self)

    def test(self, unit: str | Unit | Sequence[str | Unit] | Subject, rule: str | Rule | Claim) -> VerdictReport:
        """Test what a unit is said to compute; shows itself in Jupyter, saves itself as a page.

        Args:
            unit: a neuron, a head, several neurons ("L5N3, L5N7"), or a direction ("L4 post C0 mine").
            rule: such as ``"C0 empty & D1 theirs & E2 mine => +C0"``, or made with `circuits.rules.sq`.

        Raises:
            InputError: no such unit, or a rule that cannot be read.
        """
        from reports.verdicts.build import verdict

        return VerdictReport(verdict(self, unit, rule))

    @property
    def is_mined(self) -> bool:
        """Whether the pass over all neurons is there already."""
        path = self._mining_path()
        return "mining" in self.__dict__ or bool(path and path.is_file())

    def _mining_path(self) -> Path | None:
        return self.cache and self.cache / f"mining-{self._key()}.safetensors"

    def _key(self) -> str:
        """What the pass depends on, in 16 hex digits."""
        parts = (FORMAT, self.model.hash, self.games.fingerprint, self.plies, self.sample_games, self.seed)
        return sha256(repr(parts).encode()).hexdigest()[:16]
