"""What a folder of results comes to, for people who were not there: one HTML page, and what the cache is worth."""
