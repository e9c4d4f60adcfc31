"""What is taken out of a logged text before it is recorded: secrets and paths, as far as their form shows them.

This catches what looks like one. It is no proof: a program that logs a bare password logs a password.
"""

from __future__ import annotations

import re

TAKEN_OUT = "***"
PATH = "<path>"

_NAMES = (
    r"pass(?:word|wd|phrase)?|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?|authorization"
)
_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\Z)", re.DOTALL), TAKEN_OUT),
    (re.compile(r"(?<=://)[^\s/@]+@"), f"{TAKEN_OUT}@"),
    (re.compile(r"\b(Bearer|Basic|Digest)\s+[\w.+/=~-]{8,}", re.IGNORECASE), rf"\1 {TAKEN_OUT}"),
    (
        re.compile(
            rf"(?i)([\w.-]*(?:{_NAMES})[\w.-]*[\"']?\s*[:=]\s*)(?!(?:Bearer|Basic|Digest)\b)"
            r"(\"[^\"]*\"?|'[^']*'?|[^\s,;&)\]}]+)"
        ),
        rf"\1{TAKEN_OUT}",
    ),
    # Forms that their makers publish: JSON web tokens, AWS, GitHub, Slack.
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"), TAKEN_OUT),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bgh[pousr]_\w{20,}|\bxox[a-z]-[\w-]{10,}"), TAKEN_OUT),
    (re.compile(r"\bfile:/+[^\s\"'<>]*"), PATH),
    (re.compile(r"(?<![\w/.~])(?:~|\.{1,2})?(?:/[^\s/\"'<>|:;,()\[\]{}]+){2,}/?"), PATH),
    (re.compile(r"\b[A-Za-z]:\\[^\s\"'<>|]*|\\\\[\w.$-]+\\[^\s\"'<>|]*"), PATH),
)


def redacted(text: str) -> str:
    """Return the text without credentials in addresses, named secrets, known token forms and absolute paths."""
    for pattern, instead in _RULES:
        text = pattern.sub(instead, text)
    return text
