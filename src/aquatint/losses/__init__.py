"""Training losses: pure functions, one family in each file."""
