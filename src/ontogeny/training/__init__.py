"""Training runs with checkpoints."""
