"""What tools that are not ours say of a bundle: OpenSSF model-signing and the CycloneDX schema."""

from __future__ import annotations

import tempfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.interop.bundle import layout

if TYPE_CHECKING:
    from collections.abc import Iterable


def schema_problem(mlbom: bytes) -> str:
    """Return what the strict CycloneDX 1.6 schema finds wrong; empty when nothing.

    Raises:
        IonError: ``extra-missing`` when cyclonedx-python-lib is not installed.
    """
    try:
        from cyclonedx.exception import MissingOptionalDependencyException
        from cyclonedx.schema import SchemaVersion
        from cyclonedx.validation.json import JsonStrictValidator
    except ImportError as error:
        raise _missing("cyclonedx-python-lib") from error
    try:
        found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(mlbom.decode("utf-8", "replace"))
    except MissingOptionalDependencyException as error:
        raise _missing("cyclonedx-python-lib[json-validation]") from error
    return "" if found is None else f"not CycloneDX 1.6: {found}"[:500]


def signing_problem(folder: Path, public_pems: Iterable[str]) -> str:
    """Return why model-signing does not verify the model in a bundle by any of the keys; empty when it does.

    Raises:
        IonError: ``extra-missing`` when model-signing is not installed.
    """
    try:
        from model_signing import hashing, verifying
    except ImportError as error:
        raise _missing("model-signing and pyopenssl") from error
    problem = "there is no key of models"
    for pem in public_pems:
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as key, redirect_stdout(StringIO()):  # it prints warnings
            key.write(pem)
            key.flush()
            # All files count; by itself model-signing passes over what belongs to git.
            hashed = hashing.Config().set_ignored_paths(paths=[], ignore_git_paths=False)  # type: ignore[no-untyped-call]
            check = verifying.Config()  # type: ignore[no-untyped-call]
            check.use_elliptic_key_verifier(public_key=Path(key.name)).set_hashing_config(hashed)
            try:
                check.verify(folder / layout.MODEL, folder / layout.SIGNATURE)
            except Exception as error:  # noqa: BLE001 - whatever it raises, it has not verified
                problem = f"model-signing: {error}"[:500]
            else:
                return ""
    return problem


def _missing(what: str) -> IonError:
    return IonError("extra-missing", f"{what} cannot be imported", "install dagster-ion with its extra `evidence`")
