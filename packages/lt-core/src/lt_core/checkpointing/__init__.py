"""Checkpoints: what a run writes, reads back, and where it finds it."""
