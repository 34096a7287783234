"""Linear operators over selected weights."""
