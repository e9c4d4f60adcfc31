"""The way down: what nodes of other machines serve with is asked for here. docs/spec/bringing.md.

All of it is signed or named by digest, so whoever brings it need not believe this server. A token sees the
artifacts that the pointers of its nodes name, and no others: datasets are artifacts, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response, StreamingResponse

from ion.canonical import checked_digest, digest_bytes
from ion.errors import IonError
from ion.evidence.artifacts import ArtifactStore
from ion.evidence.envelope import MAX_ENVELOPE, unverified_payload
from ion.evidence.files import read_regular
from ion.evidence.grounds import PROVENANCE
from ion.evidence.in_toto import PAYLOAD_TYPE
from ion.evidence.statements import DecisionStatement, PromotionStatement
from ion.facts import SignatureRecorded
from ion.ids import checked_node
from ion.server.endpoint import Endpoint, Parameter
from ion.server.watch import LARGEST_ERASED, Watch
from ion.serving.erased import erased_path
from ion.serving.pointer import pointer_path, read_pointer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from starlette.requests import Request

    from ion.home import Home
    from ion.server.endpoint import Answer, Asked

LONGEST_WAIT_S = 60
_CHUNK = 1 << 20
_MOST_KNOWN = 256
_JSON = "application/json"


async def standing(asked: Asked) -> Response:
    """Return what stands for a node; 304 when that is still what the asker has."""
    node, tag = _node(asked), asked.request.headers.get("if-none-match", "")
    found = await _watch(asked.request, asked.deployment.home).standing(node, tag, asked.number("wait"))
    if found.tag == tag:
        return Response(status_code=304, headers={"ETag": tag})
    return Response(found.to_bytes(), media_type=_JSON, headers={"ETag": found.tag})


def artifact(asked: Asked) -> Response:
    """Return an artifact that the node's pointer names, as it is stored: whoever reads it hashes it."""
    node, digest = _node(asked), checked_digest(asked.path["digest"])
    home = asked.deployment.home
    artifacts = ArtifactStore(home.artifacts)
    if digest not in _named(artifacts, pointer_path(home.root, node)):
        raise IonError("unknown-artifact", f"the pointer of {node} names no artifact {digest}", "ask for its pointer")
    try:
        size = artifacts.path(digest).lstat().st_size
    except OSError as error:
        raise IonError("unknown-artifact", f"there is no artifact {digest}", "restore it from a backup") from error
    headers = {"Content-Length": str(size), "ETag": f'"{digest}"'}
    return StreamingResponse(_pieces(artifacts, digest), media_type="application/octet-stream", headers=headers)


def trust(asked: Asked) -> Response:
    """Return the trust document as the root signed it."""
    return Response(_file(asked.deployment.home.trust_document, MAX_ENVELOPE), media_type=_JSON)


def erased(asked: Asked) -> Response:
    """Return the capture keys that were erased of late, a list of ids."""
    return Response(_file(erased_path(asked.deployment.home), LARGEST_ERASED), media_type=_JSON)


def bins(asked: Asked) -> Answer:
    """Return the histogram bins of the training of the model that a node should serve: name → rising edges."""
    current = asked.store.current(_node(asked))
    found = asked.store.find(SignatureRecorded, current.run) if current.run else []
    edges = {record.fact.name: list(record.fact.edges) for record in found if record.fact.role == "training"}
    return {"model": current.model, "edges": edges}


def _node(asked: Asked) -> str:
    node = checked_node(f"{asked.path['ion']}/{asked.path['node']}")
    asked.by.require_node(node)
    return node


def _watch(request: Request, home: Home) -> Watch:
    """Return the application's watch."""
    state = request.app.state
    if not hasattr(state, "watch"):
        state.watch = Watch(home)
    found = state.watch
    assert isinstance(found, Watch)  # noqa: S101 - as set above
    return found


_known: dict[str, frozenset[str]] = {}
"""Digest of a pointer → what it names: all of it is immutable."""


def _named(artifacts: ArtifactStore, pointer: Path) -> frozenset[str]:
    """Return the digests of all that a node's pointer leads to."""
    try:
        envelope = read_pointer(pointer)
    except FileNotFoundError:
        return frozenset()
    digest = digest_bytes(envelope)
    known = _known.get(digest)
    if known is None:
        found: set[str] = set()
        try:
            _lead(artifacts, envelope, found)
        except IonError:
            return frozenset(found)  # something is missing here: what led to it can be had all the same
        while len(_known) >= _MOST_KNOWN:
            _known.pop(next(iter(_known)), None)
        known = _known[digest] = frozenset(found)
    return known


def _lead(artifacts: ArtifactStore, envelope: bytes, found: set[str]) -> None:
    """Add the digests of all that a promotion leads to.

    Raises:
        IonError: something that it names is missing or damaged here.
    """
    statement = PromotionStatement.from_payload(unverified_payload(envelope, PAYLOAD_TYPE))
    if statement.decision is None or statement.model is None:
        return
    found.update((statement.decision, statement.model))
    content = artifacts.get(statement.decision, limit=MAX_ENVELOPE)
    decision = DecisionStatement.from_payload(unverified_payload(content, PAYLOAD_TYPE))
    found.update(digest for each in decision.approvals for digest in each.envelopes)
    found.update(item.digest for item in decision.evidence if item.uri == PROVENANCE)
    found.update(entry.sha256 for entry in artifacts.get_manifest(statement.model).entries)


def _pieces(artifacts: ArtifactStore, digest: str) -> Iterator[bytes]:
    with artifacts.opened(digest) as file:
        while piece := file.read(_CHUNK):
            yield piece


def _file(path: Path, limit: int) -> bytes:
    try:
        return read_regular(path, limit)
    except FileNotFoundError as error:
        raise IonError(
            "unknown-file", f"there is no {path.name} here", "governance makes it when it is needed"
        ) from error


_PLACE = "/v1/nodes/{ion}/{node}"
ROUTES = (
    Endpoint(
        "GET",
        f"{_PLACE}/pointer",
        standing,
        "What stands for a node: its pointer, and the digests of trust document and erased keys.",
        "agent",
        query=(
            Parameter(
                "wait",
                "Seconds to wait for another answer than that with the tag in If-None-Match.",
                "integer",
                0,
                LONGEST_WAIT_S,
            ),
        ),
        slot="none",
    ),
    Endpoint(
        "GET",
        f"{_PLACE}/artifacts/{{digest}}",
        artifact,
        "An artifact that the node's pointer names.",
        "agent",
        answers="application/octet-stream",
    ),
    Endpoint("GET", f"{_PLACE}/bins", bins, "Histogram bins of the training of the model to serve.", "agent"),
    Endpoint("GET", "/v1/trust", trust, "The trust document, signed by the root.", "agent"),
    Endpoint("GET", "/v1/erased", erased, "Ids of the capture keys erased of late.", "agent"),
)
