"""Saying what of Lightning's a code base uses, and whether lt has it."""
