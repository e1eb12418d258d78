"""The algorithms, as programs that read like their papers."""
