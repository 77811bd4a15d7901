"""From trajectories to role checkpoints."""
