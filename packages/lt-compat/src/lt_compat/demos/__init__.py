"""Small modules and data to try things with, of the shapes and losses that Lightning's demos have."""
