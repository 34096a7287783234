"""What else is measured at a checkpoint."""
