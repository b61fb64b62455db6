"""A move explained, with where everything comes from: the page, the text and the JSON are made of it alone."""

from dataclasses import dataclass
from typing import ClassVar

from circuits.explanation.records import Explanation
from circuits.serial import Record
from reports.patching.records import Origin


@dataclass(frozen=True)
class ExplanationRecord(Record):
    """The explanation, the probe and the table of rules that it used ("": no table), and its origin."""

    VERSION: ClassVar[int] = 1

    version: int
    explanation: Explanation
    probe_source: str
    rules_source: str
    origin: Origin
