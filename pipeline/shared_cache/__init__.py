"""Answers that several processes share, and who of them pays for what, through a Redis."""
