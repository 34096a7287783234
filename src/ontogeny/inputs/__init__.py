"""What is measured: models, losses, data, selections of weights."""
