"""Edge Deploy's laptop side."""
