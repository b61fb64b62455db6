"""The verdict on a rule: an object that shows itself, its page as one offline HTML file, and the same in a few lines.

    from reports import open_model
    open_model().test("L5N1393", "C0 empty & D1 theirs & E2 mine => +C0")

Drawn from the record alone (`circuits.verdicts.records.Verdict`), without scripts; the engine replays the boards of the
examples from their transcripts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from circuits.verdicts.records import Verdict
from reports.neuron import environment
from reports.shown import Saved
from reports.verdicts import view as verdict_view
from reports.verdicts import words as w


@dataclass(frozen=True)
class VerdictReport(Saved):
    """A verdict with its page: shows itself in Jupyter, saves itself as one file."""

    verdict: Verdict

    @property
    def headline(self) -> str:
        return self.verdict.summary

    @property
    def grade(self) -> str:
        return self.verdict.grade

    @cached_property
    def html(self) -> str:
        return verdict_html(self.verdict)

    @property
    def text(self) -> str:
        """The verdict in lines for a terminal: grade, summary, every check with its figure, what is missing."""
        v = self.verdict
        lines = [
            f"{v.unit}: {v.claim}",
            f"  {v.in_words}",
            "",
            f"{v.grade.upper()} ({w.MEANS.get(v.grade, '')})",
            w.tidy(v.summary),
        ]
        lines += [f"  note: {w.tidy(note)}" for note in w.notes(v)]
        for name in dict.fromkeys((*w.GROUPS, *(check.group for check in v.checks))):
            found = [check for check in v.checks if check.group == name]
            if found:
                lines += ["", w.GROUPS.get(name, (name.capitalize(), ""))[0]]
            for check in found:
                mark = {True: "+", False: "-", None: "?"}[check.passed]
                lines.append(
                    f"  {mark} {check.name}: {w.tidy(check.figure)}" + f" ({check.threshold})" * bool(check.threshold)
                )
        if v.missing:
            lines += ["", w.missing_title(v), *(f"  {w.tidy(missing)}" for missing in v.missing)]
        return "\n".join(lines)

    @property
    def title(self) -> str:
        return f"{self.verdict.unit}: {self.verdict.rule}"

    def __repr__(self) -> str:
        return f"{self.verdict.unit}: {self.verdict.claim} [{self.verdict.grade}]"


def verdict_html(verdict: Verdict, links: Mapping[str, str] | None = None, json_link: str | None = None) -> str:
    """The page as HTML.

    Args:
        verdict: the record.
        links: pages of units, by name.
        json_link: the record as a file beside the page.
    """
    view = verdict_view.context(verdict, _python(verdict), level=2, links=links)
    return environment().get_template("verdict.html").render(verdict=view, json_link=json_link)


def _python(verdict: Verdict):
    """What the line under a figure says: from the call that makes the verdict, where it is recorded."""
    start = f"{verdict.python}.verdict" if verdict.python else "verdict"
    return lambda path: f"{start}.{path}"
