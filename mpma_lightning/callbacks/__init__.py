"""Callbacks: evaluation while training, pictures, result rows, guards."""
