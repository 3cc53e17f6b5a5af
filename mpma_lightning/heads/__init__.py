"""Decoders and heads."""
