"""Kinds of dictionaries: their arrays, their settings and their losses."""
