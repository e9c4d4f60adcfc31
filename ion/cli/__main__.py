"""``python -m ion.cli``: the same as ``ion``."""

from ion.cli import main

main()
