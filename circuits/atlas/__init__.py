"""The atlas: everything about every neuron and head, made in one pass that may be cut off, as tables to be asked."""
