"""The pages of one edit and of the benchmark of editing."""
