"""Differentiation and specialization of attention heads, followed by refined LLCs (arXiv:2410.02984)."""
