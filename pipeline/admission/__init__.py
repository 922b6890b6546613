"""Whose limits there are, and who may call when."""
