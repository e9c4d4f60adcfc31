"""scikit-learn: what a fitted estimator tells by itself, and linear models in the form that the gate admits."""

from resources.sklearn.extraction import extract
from resources.sklearn.linear import linear_model

__all__ = ["extract", "linear_model"]
