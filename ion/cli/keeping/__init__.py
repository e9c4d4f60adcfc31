"""``ion store``'s commands that care for a whole store, one a module."""
