"""What is lost when things break: the tools that break them, and the figures."""
