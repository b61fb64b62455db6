"""A neuron's row in the table of rules, as its page shows it."""

from dataclasses import dataclass

from circuits.census.records import NeuronCensus
from circuits.induction.records import NeuronRule, Provenance
from circuits.serial import Record


@dataclass(frozen=True)
class FoundRule(Record):
    """The row, what the census says of the neuron, and what the table was made of."""

    row: NeuronRule
    census: NeuronCensus | None
    table: Provenance
