"""The Redis that processes share."""
