"""A rule put to the test on a unit: how well it fits, what it beats, what drives the unit and what it drives."""
