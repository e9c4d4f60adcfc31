"""The hash-linked order of the facts: mathematics without I/O."""

from ion.ledger.chain import GENESIS, Problem, link, verify_chain

__all__ = ["GENESIS", "Problem", "link", "verify_chain"]
