"""Jobs that fail in every way, under every launcher, and a table of how they end."""
