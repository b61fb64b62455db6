"""A head's page: one self-contained HTML file, drawn from its record, readable offline and without scripts."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from reports.headline import Headline
from reports.heads import words as head_words
from reports.heads.records import HeadRecord
from reports.heads.view import HeadView
from reports.neuron import environment
from reports.shown import Saved


@dataclass(frozen=True)
class HeadReport(Saved):
    """A head's record with its page: shows itself in Jupyter, saves itself as one file."""

    record: HeadRecord

    @property
    def headline(self) -> Headline:
        return head_words.headline(self.record)

    @cached_property
    def html(self) -> str:
        return head_page(self.record)

    @property
    def title(self) -> str:
        return self.record.unit

    def __repr__(self) -> str:
        return f"{self.record.unit}: {self.headline.sentence} [{self.headline.grade}]"


def head_page(
    record: HeadRecord,
    links: Mapping[str, str] | None = None,
    index_link: str | None = None,
    json_link: str | None = None,
) -> str:
    """The page as HTML.

    Args:
        record: the head.
        links: pages of other units, by name, for the neighbours.
        index_link: the page that lists the set this one belongs to.
        json_link: the record as a file beside the page.
    """
    view = HeadView(record, links or {})
    return environment().get_template("head.html").render(index_link=index_link, json_link=json_link, **view.context())
