"""The core: sites, edits, captures, and the one function that runs a model with them."""
