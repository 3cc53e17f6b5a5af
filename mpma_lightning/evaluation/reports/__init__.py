"""Scores of generated reports: overlap of words with the reference, and agreement about findings."""
