"""The whole model counted: what kinds of neurons there are, who writes what, and how much of it the rules explain."""
