"""Policies about the code that made a candidate."""

from __future__ import annotations

from ion.decision import Evidence, Policy, Verdict


def source_committed() -> Policy:
    """Approve when the code location's files were committed, at training or unchanged since.

    Where there is no git, the digest of the source stands in, and the decision says so.
    """

    def judge(evidence: Evidence) -> tuple[Verdict, str]:
        code, now = evidence.started.code, evidence.source_now
        source = str(code.get("source_digest", ""))
        if not source:
            return "reject", "the node run recorded no source"
        if code.get("git") is False:
            return "approve", f"no git here; the source digest {source[:19]}… stands in"
        if code.get("dirty") is False:
            return "approve", f"the source was committed as {str(code['commit'])[:12]}"
        if now.get("source_digest") == source and now.get("commit") and now.get("dirty") is False:
            return "approve", f"the source was committed unchanged later, as {str(now['commit'])[:12]}"
        return "reject", "the source was not committed; run `git commit`, then `ion evaluate MODEL` (no retraining)"

    return Policy("source_committed", {}, judge)
