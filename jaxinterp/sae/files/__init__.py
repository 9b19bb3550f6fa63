"""Dictionaries on disk: our layout, and the layouts of other libraries."""
