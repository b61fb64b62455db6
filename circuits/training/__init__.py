"""Training an Othello-GPT: what it is shown, the loop, its files and its card."""
