"""Measurements and figures put together as one HTML page that needs no network."""
