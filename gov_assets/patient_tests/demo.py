"""The story `ion demo` tells with this ION: three trainings and a stream of patients."""

from __future__ import annotations

import sys

from ion.cli.demonstration.story import Review, Story, Training

story = Story(
    ion="patient_tests",
    node="predictions",
    assets=("patients", "features", "model"),
    trainings=(
        Training(
            title="a first model, on four of the measurements",
            config={"features": 4},
            verdict="approve",
            again="reject",  # worse than the one that serves by then
        ),
        Training(
            title="a better one, on all thirty",
            config={"features": 30},
            verdict="approve",
            again="approve",
        ),
        Training(
            title="a bad one, half of its labels corrupted",
            config={"label_noise": 0.5},
            verdict="reject",
            again="reject",
        ),
    ),
    feed=(sys.executable, "-m", "gov_assets.patient_tests.feed", "--rate", "50"),
    registered_as="patient_tests",
    review=Review(
        ion="biopsies",
        node="urgencies",
        assets=("samples", "urgency"),
        title="a high-risk model, which says whose sample is looked at first",
        people=(("anna", "Anna Berg"), ("ben", "Ben Okafor")),
    ),
)
