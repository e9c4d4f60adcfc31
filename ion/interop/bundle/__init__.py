"""Evidence bundles: all that was signed and recorded about a model version, in a folder that anyone can check.

Written from a store, read with nothing but the folder and the public key of whoever is trusted::

    exported = export_bundle(store, home, model, Path("evidence"))
    checked = verify_bundle(Path("evidence"), root=load_public(Path("root.pub.pem")))
    checked.ok, [step.name for step in checked.steps if step.problems]

The first needs the store (`ion.interop.bundle.exporting`), the second does not. Format: docs/spec/bundle.md.
"""

from ion.interop.bundle.verifying import Problem, Step, Verification, verify_bundle

__all__ = ["Problem", "Step", "Verification", "verify_bundle"]
