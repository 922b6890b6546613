"""What ``headrace doctor`` looks at before a run: each module checks one thing and changes nothing."""
