"""Draws to numbers with errors: λ̂, uncertainty, diagnostics, status. Pure functions of labelled arrays, no torch."""
