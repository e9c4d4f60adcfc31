"""Spark: the session for training, what fitted pipelines and streaming queries tell, and data frames as datasets."""

from resources.extraction import ComponentDescription, Extraction, TrialDescription
from resources.spark.extraction import extract
from resources.spark.frames import frame_digest, frame_schema, record_frame
from resources.spark.session import SparkResource, open_session

__all__ = [
    "ComponentDescription",
    "Extraction",
    "SparkResource",
    "TrialDescription",
    "extract",
    "frame_digest",
    "frame_schema",
    "open_session",
    "record_frame",
]
