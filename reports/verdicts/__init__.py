"""The page of a verdict, and its section on a neuron's."""
