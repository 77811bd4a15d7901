"""Training data: one file per source, all read into trajectories."""
