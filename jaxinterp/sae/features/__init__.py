"""Features of dictionaries: what they respond to, what they write, and how they are shown."""
