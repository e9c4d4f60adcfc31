"""One folder per ION: its assets and checks. What an engineer reads, copies and edits."""
