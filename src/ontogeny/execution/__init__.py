"""Chunks of work to results: on this machine, resumable."""
