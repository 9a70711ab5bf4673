"""How worlds of ranks are started: the launchers of each MPI, and of Slurm."""
