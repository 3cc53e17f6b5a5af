"""Figures for a person to look at, by kind: drawing functions only."""
