"""A run of the command line: one value, its file, its folder."""
