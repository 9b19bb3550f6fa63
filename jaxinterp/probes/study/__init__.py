"""Studies: many probes over features and layers, their records and reports."""
