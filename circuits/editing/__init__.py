"""Another board written into the model: edited boards, ways to write them, and whether the model plays by them."""
