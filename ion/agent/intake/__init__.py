"""Intake: programs in any language tell facts to an agent of their host; docs/spec/intake.md."""

from ion.agent.intake.serving import Intake, serve_intake

__all__ = ["Intake", "serve_intake"]
