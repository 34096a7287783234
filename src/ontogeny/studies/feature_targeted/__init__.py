"""Whether the LLC of the computation of one feature tells SAE features from random directions."""
