"""Meshes of devices: how models, dictionaries and data are laid on them."""
