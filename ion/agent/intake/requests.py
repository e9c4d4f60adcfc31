"""As much of HTTP/1.1 as an intake needs: one POST per connection, of a known length, from a program.

What a browser sends on behalf of a page is refused: it names an Origin or Sec-Fetch field, cannot name these content
types without asking first, and a page that had its own name lead here shows in Host. No answer allows another origin.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from ion.errors import IonError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ion.agent.intake.taking import Answer, Taking

FACTS = "/v1/facts"
LINEAGE = "/api/v1/lineage"
MOST_BODY = 8 * 1024 * 1024
MOST_LINES = 10_000

_CONTENT = {FACTS: "application/x-ndjson", LINEAGE: "application/json"}
_MOST_HEAD = 16 * 1024
_HEAD_ENDS = b"\r\n\r\n"
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*\Z")
_OF_BROWSERS = ("origin", "sec-fetch-site", "sec-fetch-mode", "referer")
_STATUS = {
    "malformed-request": HTTPStatus.BAD_REQUEST,
    "foreign-origin": HTTPStatus.FORBIDDEN,
    "foreign-peer": HTTPStatus.FORBIDDEN,
    "not-found": HTTPStatus.NOT_FOUND,
    "bad-method": HTTPStatus.METHOD_NOT_ALLOWED,
    "bad-content-type": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "length-required": HTTPStatus.LENGTH_REQUIRED,
    "request-too-large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "intake-busy": HTTPStatus.SERVICE_UNAVAILABLE,
    "spool-unusable": HTTPStatus.SERVICE_UNAVAILABLE,
    "too-slow": HTTPStatus.REQUEST_TIMEOUT,
}


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request; names of fields in lower case."""

    method: str
    path: str
    fields: Mapping[str, str]
    rest: bytes


async def serve_request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes, taking: Taking, port: int
) -> None:
    """Answer one request whose first bytes were read already; ``port`` is the one listened at, 0 for a Unix socket.

    Raises:
        IonError: why it is refused; nothing was answered yet.
    """
    head = await _read_head(reader, first)
    length = _check(head, port)
    if head.fields.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
    missing = length - len(head.rest)
    body = head.rest[:length] + (await reader.readexactly(missing) if missing > 0 else b"")
    if head.path == FACTS:
        lines = [line for line in body.split(b"\n") if line.strip()]
        if len(lines) > MOST_LINES:
            raise IonError("request-too-large", f"{len(lines)} lines in one request", f"send at most {MOST_LINES}")
        answers = await asyncio.to_thread(taking.take, lines)
        write_response(writer, HTTPStatus.OK, answers, _CONTENT[FACTS])
    else:
        answer = await asyncio.to_thread(taking.take_event, body)
        refused = _STATUS.get(str(answer.get("code")), HTTPStatus.UNPROCESSABLE_ENTITY)
        write_response(writer, HTTPStatus.OK if answer["ok"] else refused, [answer])


def write_refusal(writer: asyncio.StreamWriter, answer: Answer) -> None:
    """Answer a request that was refused as a whole."""
    write_response(writer, _STATUS.get(str(answer["code"]), HTTPStatus.BAD_REQUEST), [answer])


def write_response(
    writer: asyncio.StreamWriter, status: HTTPStatus, answers: Sequence[Answer], content: str = "application/json"
) -> None:
    """Write a whole response, after which the connection ends."""
    body = "".join(json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers).encode()
    fields = {
        "Content-Type": content,
        "Content-Length": str(len(body)),
        "Connection": "close",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    allowed = {"Allow": "POST"} if status is HTTPStatus.METHOD_NOT_ALLOWED else {}
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        *(f"{name}: {text}" for name, text in (fields | allowed).items()),
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)


async def _read_head(reader: asyncio.StreamReader, first: bytes) -> Head:
    data = first
    while _HEAD_ENDS not in data and len(data) <= _MOST_HEAD:
        piece = await reader.read(_MOST_HEAD)
        if not piece:
            raise IonError("malformed-request", "the request ends in its head")
        data += piece
    if _HEAD_ENDS not in data[: _MOST_HEAD + len(_HEAD_ENDS)]:
        raise IonError("request-too-large", f"the head has over {_MOST_HEAD} bytes")
    head, _, rest = data.partition(_HEAD_ENDS)
    request, *lines = head.decode("latin-1").split("\r\n")
    parts = request.split(" ")
    if len(parts) != 3 or parts[2] not in {"HTTP/1.0", "HTTP/1.1"}:  # noqa: PLR2004 - method, target, version
        raise IonError("malformed-request", "this is no HTTP/1.1 request", "docs/spec/intake.md shows the forms")
    fields: dict[str, str] = {}
    for line in lines:
        found = _FIELD.match(line)
        if found is None or found[1].lower() in fields:
            raise IonError("malformed-request", f"a field of the head is malformed or stands twice: {line!r:.60}")
        fields[found[1].lower()] = found[2]
    return Head(parts[0], parts[1], fields, rest)


def _check(head: Head, port: int) -> int:
    """Return the length of the body of a request that may be answered."""
    names = {"localhost", "127.0.0.1"}
    if head.fields.get("host", "") not in {f"{name}:{port}" for name in names} | (set() if port else names):
        raise IonError(
            "foreign-origin", "the request is for another host", "address the intake as 127.0.0.1 and its port"
        )
    shown = [name for name in _OF_BROWSERS if name in head.fields]
    if shown:
        raise IonError("foreign-origin", f"a browser sent this for a page ({shown[0]})", "pages may not tell facts")
    expected = _CONTENT.get(head.path)
    if expected is None:
        raise IonError("not-found", f"there is nothing at {head.path[:100]}", f"post to {FACTS} or {LINEAGE}")
    if head.method != "POST":
        raise IonError("bad-method", f"{head.method[:20]} is not taken", "use POST")
    if head.fields.get("content-type", "").partition(";")[0].strip().lower() != expected:
        raise IonError("bad-content-type", f"{head.path} takes {expected}", f"send Content-Type: {expected}")
    if head.fields.get("content-encoding", "identity").lower() != "identity":
        raise IonError("bad-content-type", "a compressed body is not taken", "send it as it is")
    length = head.fields.get("content-length", "")
    if "transfer-encoding" in head.fields or not re.fullmatch(r"[0-9]{1,9}", length):
        raise IonError("length-required", "the request names no length", "send Content-Length, not chunks")
    if int(length) > MOST_BODY:
        raise IonError("request-too-large", f"a body of {length} bytes", f"send at most {MOST_BODY}")
    return int(length)
