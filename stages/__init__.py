"""The stages of the line, one a file; they know nothing of each other."""
