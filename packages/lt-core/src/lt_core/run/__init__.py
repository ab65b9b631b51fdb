"""The run: everything that changes while the loops work, in small types of their own."""
