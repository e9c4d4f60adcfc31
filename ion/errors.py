"""The one error type of ion: what happened, to what, and what to do next."""

from __future__ import annotations


class IonError(Exception):
    """A misuse or a broken environment. Denials and divergences are values, never exceptions.

    Args:
        code: stable kebab-case identifier; scripts may match on it.
        message: what happened, and to what.
        hint: what the reader can do next; empty when nothing sensible can be said.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]" + (f"\n  {self.hint}" if self.hint else "")

    def __reduce__(self) -> tuple[type[IonError], tuple[str, str, str]]:
        """Survive pickling: engines carry exceptions between processes."""
        return type(self), (self.code, self.message, self.hint)

    def as_dict(self) -> dict[str, str]:
        """Return the JSON form that ``--json`` prints."""
        return {"code": self.code, "message": self.message, "hint": self.hint}
