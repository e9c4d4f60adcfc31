"""The job `review`: a person's signed word, given in Dagster's launchpad.

Dagster does not know who sits at its page, and the name it shows proves nothing. What counts is the
signature made by ``ion approve … --print`` on the person's own machine.
"""
# No annotations from the future here: Dagster reads an op's own when the module loads.

from base64 import b64decode

import dagster as dg
from pydantic import Field

from ion.clock import rfc3339
from ion.decision.approving import Approving
from ion.errors import IonError
from ion.evidence import ArtifactStore, load_trust
from ion.graph import assignments
from ion.home import Home, web_url
from ion.store import open_store


class SignedStatement(dg.Config):
    """What somebody signed."""

    envelope: str = Field(description="The line that `ion approve MODEL --node ION/NODE --reason … --print` prints.")


@dg.op(description="Verifies a signed statement under the trust document and records it.")
def record_statement(context: dg.OpExecutionContext, config: SignedStatement) -> None:
    """Record the statement; the policy sensor decides again within its tick.

    Raises:
        dagster.Failure: the statement does not count; nothing but the refusal was recorded.
    """
    try:
        envelope = b64decode(config.envelope.strip(), validate=True)
    except ValueError as error:
        raise dg.Failure("the envelope is not the base64 line that `ion approve --print` prints") from error
    home = Home.find().make()
    store = open_store(home.store_url)
    try:
        taken = Approving(store, ArtifactStore(home.artifacts), load_trust(home), lambda node: assignments(store, node))
        said = taken.record(envelope)
    except IonError as error:
        raise dg.Failure(error.message, metadata={"code": error.code, "hint": error.hint}) from error
    finally:
        store.close()
    context.add_output_metadata(
        {
            "person": said.person,
            "word": said.word,
            "reason": said.reason,
            "node": said.address,
            "model digest": said.model,
            "counts until": rfc3339(said.until),
            "governance page": dg.MetadataValue.url(f"{web_url()}/models/{said.model}"),
        }
    )


@dg.job(description="A person's signed approval, rejection or withdrawal of a model. The signature is what counts.")
def review() -> None:
    """Record one signed statement."""
    record_statement()
