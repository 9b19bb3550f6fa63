"""The training of dictionaries: one, or many side by side."""
