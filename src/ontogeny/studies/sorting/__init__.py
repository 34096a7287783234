"""Structure formation in algorithmic transformers: sorting lists, and the signs of cumulative sums."""
