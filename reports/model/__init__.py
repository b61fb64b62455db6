"""The page of a whole model: its rules counted, and the trial of the tool that found them."""
