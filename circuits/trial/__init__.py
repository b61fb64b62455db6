"""The finder of rules on trial: planted neurons, decoys, noise, and what came of each."""
