"""The import side: what runs recorded, as data frames, for pipelines and people.

`stats`, `models`, `events`, `facts` and `gaps` take the same filters (ION, node, run, model, time) and give
pandas, Polars, Arrow or plain rows. A running pipeline may ask: what it told itself is in the answer.
"""

from ion.reading.questions import events, facts, gaps, models, stats

__all__ = ["events", "facts", "gaps", "models", "stats"]
