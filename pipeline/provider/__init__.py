"""The wire: one HTTP client a key, what its answers mean, and the way from a body to a picture file."""
