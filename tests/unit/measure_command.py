"""A model that a test of ``ontogeny measure`` names, and one that is none; workers import them."""

from ontogeny.inputs.attention_only import AttentionOnly, AttentionOnlyConfig

CONFIG = AttentionOnlyConfig(vocabulary=300, context=12, width=8, layers=2, heads=2)


def build():
    """Two layers of two heads."""
    return AttentionOnly(CONFIG)


def nothing():
    """No model."""


def broken():
    """Fails."""
    raise ValueError("no luck")
