"""The code location `assets`: every folder here is an ION; add one, and it is governed.

This location trains and predicts. It holds no signing key.
"""

from __future__ import annotations

import dagster as dg

import gov_assets
from ion.dagster import governed
from resources.mlflow import MlflowTracking
from resources.spark import SparkResource

defs = governed(
    [
        asset
        for asset in dg.load_assets_from_package_module(gov_assets, include_specs=True)
        if isinstance(asset, dg.AssetsDefinition | dg.AssetSpec)
    ],
    resources={"pyspark": SparkResource(), "mlflow": MlflowTracking()},
)
