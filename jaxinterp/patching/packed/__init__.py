"""Packed sweeps: the suffixes of many patched runs in rows of one compiled program."""
