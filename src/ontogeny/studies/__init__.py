"""The experiments, each a folder that reads like a paper's methods section."""
