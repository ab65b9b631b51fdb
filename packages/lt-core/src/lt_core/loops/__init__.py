"""The loops: plain functions that read like a story of what happens to a run."""
