"""Launchers: how the processes of a job are started, and what they do when one ends."""
