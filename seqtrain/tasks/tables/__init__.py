"""Tasks on tables of numbers: reading a file, its steps in time, scaling, and baselines."""
