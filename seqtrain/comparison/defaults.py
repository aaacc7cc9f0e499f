"""Defaults and limits of the options of `compare`, for the command line and for programs."""

COMPARED = ("rnn", "lstm", "peephole", "coupled", "gru")
"""The cells that are trained unless others are named. Of `odyssey` one ablation alone would say little."""

SEEDS, TUNING_SEEDS = 3, 2
"""Numbers of seeds unless others are given."""

ADVISED_SEEDS = 12
"""With these a test of five cells finds most differences of 1.5 times in steps to solve: see `tests/long/power.py`."""

FEWEST_FOR_INTERVALS = 3
"""Runs from which an interval is drawn; of fewer it is many times as wide as the runs lie apart, so they are points."""

MOST_SEEDS, MOST_JOBS, MOST_CANDIDATES = 10_000, 1024, 1000

LEVEL = 0.05
"""Significance level unless another is given."""

LEVELS = (0.001, 0.5)
"""Limits of the significance level: below, no usual number of seeds could show a difference."""

PLACES = ("local", "dask", "dask://HOST:PORT", "slurm", "slurm-local")
"""Where runs can be trained."""

SLURM_KEYS = ("partition", "time", "gpus", "cpus", "mem", "account", "qos", "constraint", "exclude", "gres")
"""What a job of Slurm can ask for."""

MOST_TASKS = 1000
"""Tasks of one array in a Slurm with its usual MaxArraySize of 1001, which counts from 0."""
