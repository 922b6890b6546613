"""Pictures that are there already."""
