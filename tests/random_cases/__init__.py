"""Random cases against a plain reference in NumPy: `python -m tests.random_cases --seed 0 --cases 300`.

A case is a call of the library on a padded batch. What it returns is compared with `reference.py`,
which runs each prompt alone, or (for sweeps) with a plain loop of runs.
"""
