"""Failures that end well: one rank fails, every process of the job ends, and the first failure is what is shown."""
