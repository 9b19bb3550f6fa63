"""Probes that an optimiser trains, and how many bits a probe saves."""
