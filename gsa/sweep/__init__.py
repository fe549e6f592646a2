"""Many items of the pipeline at once: on this machine, on a Ray cluster or in a SLURM queue."""
