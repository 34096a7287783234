"""Linear operators over selected weights: products, traces, eigenvalues, spectral densities, ranks."""
