"""The demonstration: a story played on a real deployment with public commands, every claim checked."""
