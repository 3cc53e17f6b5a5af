"""Decoders and heads that are bigger than a Linear."""
