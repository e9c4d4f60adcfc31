"""Spark: the session for training, and the extraction of what a fitted pipeline tells."""

from resources.extraction import ComponentDescription, Extraction, TrialDescription
from resources.spark.extraction import extract
from resources.spark.session import SparkResource, open_session

__all__ = ["ComponentDescription", "Extraction", "SparkResource", "TrialDescription", "extract", "open_session"]
