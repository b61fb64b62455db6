"""Pages of circuits and of patching runs."""
