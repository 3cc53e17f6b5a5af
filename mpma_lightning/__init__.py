"""MPMA-Lightning: multi-task paired masking with alignment for medical vision-language pre-training."""

__version__ = "0.1.0"
