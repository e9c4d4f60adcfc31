"""``ion why``: everything that had a part in one prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ion.cli.answering import console, did_not_hold, json_option, opened, print_json

if TYPE_CHECKING:
    from ion.graph import Explanation


@click.command(name="why")
@click.argument("prediction")
@json_option
def command(prediction: str, *, as_json: bool) -> None:
    """Explain one PREDICTION: who, where, what, when and how.

    The answer leads from the prediction to its model, decision, approval, training, datasets,
    code, configuration and environment. Signatures and model bytes are verified on the way. An
    answer with something missing names it and exits with 1.

    Example: ion why 0193f3a2-7c93-7911-8a6e-06ff3ee1fb94:17
    """
    from ion.graph import explain, find_prediction

    with opened() as asked:
        answer = explain(asked.store, find_prediction(asked.store, prediction), asked.home)
    if as_json:
        print_json(answer.as_dict())
    else:
        _print(answer)
    if not answer.complete:
        did_not_hold()


def _print(answer: Explanation) -> None:
    from ion.cli.explanation_tree import explanation_tree

    console().print(explanation_tree(answer))
