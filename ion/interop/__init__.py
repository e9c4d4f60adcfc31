"""What leaves the house, for readers who have none of it: evidence bundles."""
