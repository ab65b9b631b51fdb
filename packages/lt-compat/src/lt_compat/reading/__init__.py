"""Reading code: which files there are, what they import, and what of Lightning's they use."""
