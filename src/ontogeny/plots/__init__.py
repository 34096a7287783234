"""Figures made from measurements alone: functions from labelled arrays to plotly figures, one file a theme."""
