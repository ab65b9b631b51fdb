"""Moving code from Lightning's names to lt's."""
