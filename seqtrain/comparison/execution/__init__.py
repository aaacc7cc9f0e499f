"""Training many runs: in processes of this machine, on a Dask cluster, or with Slurm."""
