"""Kill runs with SIGKILL at random moments, resume them until they're done, and compare them with one left alone."""
