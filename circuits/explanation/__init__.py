"""Why the model plays a move: what it rests on, what adds up to its logit, and what is lost without it."""
