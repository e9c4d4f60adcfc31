"""Which key seals which row of a streaming node, and what an erasure tells the running job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.agent.capture_keys import KeyDrop
from ion.serving.capture import seal, seal_columns
from ion.serving.erased import ErasedKeys, erased_path
from ion.serving.keyring import Keyring
from ion.serving.subject import SubjectTags, subject_text
from resources.flink.rows import subject_of, without_subject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ion.agent import Client
    from resources.flink.inputs import ScoredInputs
    from resources.flink.settings import JobSettings


class RowKeys:
    """The keys of one job's captured and quarantined rows. One thread uses it."""

    def __init__(self, settings: JobSettings, client: Client) -> None:
        """Make the deployment's pepper if the node declares a data subject.

        Raises:
            IonError: a code of the pepper.
        """
        self._subject = bool(settings.subject)
        tags = SubjectTags.of(client.home) if self._subject else None
        self._keyring = Keyring(KeyDrop(client), settings.node, tags)
        self._erased = ErasedKeys(erased_path(client.home))

    def forget_erased(self) -> None:
        """Drop what was erased since the last call."""
        self._keyring.forget(self._erased.news())

    def seal(self, epoch: str, scored: ScoredInputs, aad: bytes) -> tuple[str, bytes]:
        """Return a block of inputs and scores, and what the fact says of its key.

        Inputs stay as they were written: read again, they are the doubles that were scored.

        Raises:
            IonError: ``spool-unusable``, ``bad-capture``.
        """
        if not self._subject:
            key = self._keyring.shared(epoch)
            return key.key_id, seal_columns(scored.inputs, scored.scores, key, aad)
        inputs = scored.inputs.split(b"\n")
        features = zip(self.features_of(inputs), scored.scores.tolist(), strict=True)
        rows = [b"%b;%b" % (text, repr(score).encode()) for text, score in features]
        return self.seal_rows(epoch, inputs, rows, aad)

    def seal_rows(
        self, epoch: str, inputs: Sequence[bytes | None], rows: Sequence[bytes], aad: bytes
    ) -> tuple[str, bytes]:
        """Return a block of ``rows``, each under the key of the person its input names; and as `seal`.

        Raises:
            IonError: ``spool-unusable``, ``bad-capture``.
        """
        if not self._subject:
            key = self._keyring.shared(epoch)
            return key.key_id, seal(rows, key, aad)
        named = [subject_of(row).decode("utf-8", "backslashreplace") if row else "" for row in inputs]
        return "", seal(rows, self._keyring.of_rows(epoch, [subject_text(each) for each in named]), aad)

    def features_of(self, inputs: list[bytes]) -> list[bytes]:
        """Return input rows without what says whose they are."""
        return [without_subject(row) for row in inputs] if self._subject else inputs
