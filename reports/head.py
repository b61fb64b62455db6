"""A head's page: one self-contained HTML file, drawn from its record, readable offline and without scripts."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from markupsafe import escape

from circuits.files import write_whole
from reports import head_words
from reports.head_records import HeadRecord
from reports.head_view import HeadView
from reports.headline import Headline
from reports.neuron import HEIGHT, environment


@dataclass(frozen=True)
class HeadReport:
    """A head's record with its page: shows itself in Jupyter, saves itself as one file."""

    record: HeadRecord

    @property
    def headline(self) -> Headline:
        return head_words.headline(self.record)

    @cached_property
    def html(self) -> str:
        return head_page(self.record)

    def save(self, path: str | Path) -> Path:
        """Write the page, whole or not at all.

        Raises:
            InputError: the place cannot be written.
        """
        with write_whole(path) as temporary:
            temporary.write_text(self.html, encoding="utf-8")
        return Path(path)

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{escape(self.html)}" title="{escape(self.record.unit)}" sandbox="" '
            f'style="width:100%;height:{HEIGHT}px;border:1px solid #8884"></iframe>'
        )

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
