"""The causal section of a neuron's page."""
