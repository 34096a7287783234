"""Words everyone uses: types, trees, rng, schema, errors."""
