"""The keys one writer seals with, in memory: made when first needed, handed over before use, dropped when erased.

Nothing of a keyring outlives its process. A run that starts makes keys of its own, so whatever was erased
before cannot come back from it; one that goes on is told (`ion.serving.erased`).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ion.evidence.captures import CaptureKey

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ion.agent.capture_keys import KeyDrop
    from ion.serving.subject import SubjectTags

LIFETIME_S = 86_400.0
"""A key seals for a day at most: an erasure by key destroys no more than a day of an epoch."""
_MOST_KEYS = 100_000


class Keyring:
    """The keys of one node's writer. One thread uses it.

    Args:
        drop: where new keys wait for the store.
        node: ``ion/node``.
        tags: how people are tagged; None for a node that declares no data subject.
    """

    def __init__(self, drop: KeyDrop, node: str, tags: SubjectTags | None = None) -> None:
        self._drop = drop
        self._node = node
        self._tags = tags
        self._place = drop.place
        self._keys: dict[tuple[str, str], tuple[float, CaptureKey]] = {}

    def shared(self, scope: str) -> CaptureKey:
        """Return the key of everything in ``scope``, e.g. an epoch.

        Raises:
            IonError: ``spool-unusable``.
        """
        return self.of_rows(scope, [""])[0]

    def of_rows(self, scope: str, subjects: Sequence[str]) -> list[CaptureKey]:
        """Return the key of each row by its subject (`subject_text`); rows of nobody share that of ``scope``.

        Raises:
            IonError: ``spool-unusable``; nothing may be sealed then.
        """
        now = time.monotonic()
        if self._drop.place != self._place or len(self._keys) > _MOST_KEYS:
            self._keys.clear()  # what went with a removed spool may never have reached the store
            self._place = self._drop.place
        found: dict[str, CaptureKey] = {}
        fresh: list[CaptureKey] = []
        for subject in dict.fromkeys(subjects):
            name = ("subject", subject) if subject else ("scope", scope)
            made, key = self._keys.get(name, (now, None))
            if key is None or now - made > LIFETIME_S:
                key = CaptureKey.generate(self._tag(subject))
                fresh.append(key)
                self._keys[name] = (now, key)
            found[subject] = key
        if fresh:
            try:
                self._drop.put(fresh)
            except BaseException:
                self.forget({key.key_id for key in fresh})
                raise
        return [found[subject] for subject in subjects]

    def forget(self, key_ids: Collection[str]) -> None:
        """Drop keys: whoever is seen again gets a new one."""
        if key_ids:
            self._keys = {name: held for name, held in self._keys.items() if held[1].key_id not in key_ids}

    def _tag(self, subject: str) -> str:
        return self._tags.tag(self._node, subject) if subject and self._tags else ""
