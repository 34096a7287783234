"""The pressure test: superposition at four sparsities, every indicator beside the LLC, over many seeds."""
