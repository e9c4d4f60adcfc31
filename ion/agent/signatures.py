"""Signatures of a node run: how inputs and predictions are distributed, mergeable across workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.agent.categories import Categories
from ion.agent.sketch import Sketch
from ion.agent.telling import Telling
from ion.facts import CategoriesRecorded, SignatureRecorded

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ion.agent.histogram import Histogram


class Signatures(Telling):
    """Histograms, counts by category, and quantile sketches."""

    def signature(
        self, name: str, histogram: Histogram | Categories, *, role: str, epoch: str = "", fact_id: str = ""
    ) -> None:
        """Record a histogram or counts by category; ``role`` is ``training``, ``inference`` or ``prediction``."""
        if isinstance(histogram, Categories):
            self.emit(
                CategoriesRecorded(
                    run=self.id,
                    name=name,
                    role=role,
                    epoch=epoch,
                    categories=list(histogram.categories),
                    counts=list(histogram.counts),
                    other=histogram.other,
                    missing=histogram.missing,
                ),
                fact_id=fact_id,
            )
            return
        self.emit(
            SignatureRecorded(
                run=self.id,
                name=name,
                role=role,
                epoch=epoch,
                edges=list(histogram.edges),
                counts=list(histogram.counts),
                below=histogram.below,
                above=histogram.above,
            ),
            fact_id=fact_id,
        )

    def sketch(self, name: str, sketch: Sketch | ArrayLike, *, role: str, epoch: str = "", fact_id: str = "") -> None:
        """Record a quantile sketch, or make one of values and record that; ``role`` as of `signature`.

        Workers record one each; `Sketch.merged_from` makes one of them.

        Raises:
            IonError: ``extra-missing`` without datasketches, ``bad-sketch`` for an infinity.
        """
        made = sketch if isinstance(sketch, Sketch) else Sketch.of(sketch)
        self.emit(made.recorded(self.id, name, role=role, epoch=epoch), fact_id=fact_id)
