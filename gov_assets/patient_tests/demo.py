"""The story `ion demo` tells with this ION: three trainings and a stream of patients."""

from __future__ import annotations

import sys

from ion.cli.demonstration.story import Story, Training

story = Story(
    ion="patient_tests",
    node="predictions",
    assets=("patients", "features", "model"),
    trainings=(
        Training(
            title="a first model, on the first eleven measurements",
            config={"features": 11, "reg_params": [0.1, 1.0], "elastic_net_params": [0.0]},
            verdict="approve",
        ),
        Training(
            title="a better one, on all thirty",
            config={"features": 30, "reg_params": [0.01, 0.1], "elastic_net_params": [0.0, 0.5]},
            verdict="approve",
        ),
        Training(
            title="a bad one, two fifths of its labels corrupted",
            config={"features": 30, "label_noise": 0.4, "reg_params": [0.01], "elastic_net_params": [0.0]},
            verdict="reject",
        ),
    ),
    feed=(sys.executable, "-m", "gov_assets.patient_tests.feed", "--rate", "50"),
)
