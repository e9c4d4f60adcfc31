"""Spark: the session for training, and the extraction of what a fitted pipeline tells."""

from resources.spark.extraction import ComponentDescription, Extraction, TrialDescription, extract
from resources.spark.session import SparkResource, open_session

__all__ = ["ComponentDescription", "Extraction", "SparkResource", "TrialDescription", "extract", "open_session"]
