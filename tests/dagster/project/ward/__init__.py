"""A small governed project: real training and scoring, in milliseconds; copied out of git before it is imported."""
