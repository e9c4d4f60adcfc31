"""The commands of ``ion audit``, one module each."""
