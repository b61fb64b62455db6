"""A neuron's page: one offline HTML file drawn from its record alone.

Every page has the same order: headline with four figures beside their baselines, what it reads, when it
fires, what it writes, causes, its neighbours, provenance. No script, no request to anywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports import boards
from reports.captions import sample_words, sentence_case
from reports.headline import Headline, headline
from reports.records import NeuronRecord
from reports.shown import Saved
from reports.text import count, fixed, number, percent, unbroken
from reports.view import View


@dataclass(frozen=True)
class NeuronReport(Saved):
    """A neuron's record with its page: shows itself in Jupyter, saves itself as one file."""

    record: NeuronRecord

    @property
    def headline(self) -> Headline:
        return headline(self.record)

    @cached_property
    def html(self) -> str:
        return neuron_page(self.record)

    @property
    def title(self) -> str:
        return self.record.unit

    def __repr__(self) -> str:
        return f"{self.record.unit}: {self.headline.sentence} [{self.headline.grade}]"


@cache
def environment() -> Environment:
    """The templates, with autoescape on: names and titles reach a page as text, never as markup."""
    env = Environment(loader=PackageLoader("reports"), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    env.filters.update(
        fixed=fixed, percent=percent, count=count, number=number, sample_words=sample_words,
        sentence_case=sentence_case, unbroken=unbroken,
    )  # fmt: skip
    env.tests["longtext"] = lambda cell: isinstance(cell, str) and len(cell) > 60
    env.globals.update(symbol=boards.symbol, definitions=boards.DEFINITIONS, places=boards.places)
    env.globals["css"] = Markup(env.loader.get_source(env, "page.css")[0])
    return env


def neuron_page(
    record: NeuronRecord,
    links: Mapping[str, str] | None = None,
    index_link: str | None = None,
    json_link: str | None = None,
) -> str:
    """The page as HTML.

    Args:
        record: the neuron.
        links: pages of other units, by name, for the neighbours.
        index_link: the page that lists the set this one belongs to.
        json_link: the record as a file beside the page.
    """
    view = View(record, links or {})
    template = environment().get_template("neuron.html")
    return template.render(index_link=index_link, json_link=json_link, **view.context())
