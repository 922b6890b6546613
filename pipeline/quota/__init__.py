"""Limits that several processes share, through a Redis."""
