"""Keras and TensorFlow: what a model and its training tell by themselves, and the signature of a SavedModel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ion.errors import IonError
from resources.extraction import ComponentDescription, Extraction, json_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import keras

    from ion import NodeRun

Tensors = list[dict[str, str]]
"""[{name, type}]"""
_UNTOLD = {"name", "dtype", "build_config", "registered_name", "module"}
"""Of a layer's configuration: what is told elsewhere, or says nothing."""


def extract(model: keras.Model) -> Extraction:
    """Read a built model: one component for what it is compiled with, then one for each layer, also nested ones.

    Parameters are the configurations of Keras; ``weights`` is how many numbers a layer has learned or holds.
    """
    optimizer = getattr(model, "optimizer", None)
    compiled: dict[str, object] = {}
    if optimizer is not None:
        compiled["optimizer"] = {"class": type(optimizer).__name__, **_plain(optimizer.get_config())}
    loss = getattr(model, "loss", None)
    if loss is not None:
        compiled["loss"] = loss if isinstance(loss, str) else json_value(getattr(loss, "name", loss))
    whole = ComponentDescription(
        name=str(model.name),
        kind=f"keras.{type(model).__name__}",
        uid="",
        params=compiled,
        metrics={"weights": float(model.count_params())} if model.built else {},
    )
    layers = tuple(
        ComponentDescription(
            name=f"{model.name}.{path}",
            kind=f"keras.{type(layer).__name__}",
            uid="",
            params=_plain(layer.get_config()),
            metrics={"weights": float(layer.count_params())} if layer.built else {},
        )
        for path, layer in _layers(model)
    )
    return Extraction((whole, *layers))


def recording(run: NodeRun) -> keras.callbacks.Callback:
    """Return a callback for ``fit``: the model's components when training begins, every epoch's logs as statistics.

    Series are named as Keras names them: ``loss``, ``val_loss``, the metrics.
    """
    import keras

    class Recording(keras.callbacks.Callback):  # type: ignore[misc]  # keras ships no types
        """Tells what `fit` does."""

        def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
            """Tell what is trained, and how."""
            del logs
            extract(self.model).record(run)
            for name, value in (self.params or {}).items():
                run.param(f"fit.{name}", json_value(value))

        def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
            """Tell one epoch."""
            del epoch
            for name, value in (logs or {}).items():
                run.stat(name, float(value))

    return Recording()


def saved_model_signature(folder: Path, name: str = "serving_default") -> tuple[Tensors, Tensors]:
    """Return inputs and outputs of a SavedModel, ``[{name, type}, …]`` by name; a type is e.g. ``float32[?, 3]``.

    Only ``saved_model.pb`` is read; nothing of the model runs. What comes back is what `ion.Model` takes as
    ``input_schema`` and ``output_schema``.

    Raises:
        IonError: ``no-signature`` when this is no SavedModel, or has no such signature.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString((folder / "saved_model.pb").read_bytes())
    except (OSError, DecodeError) as error:
        hint = "give the folder that model.export(…) wrote"
        raise IonError("no-signature", f"{folder.name} is no SavedModel ({type(error).__name__})", hint) from error
    found = {key: signature for graph in saved.meta_graphs for key, signature in graph.signature_def.items()}
    if name not in found:
        known = ", ".join(sorted(key for key in found if not key.startswith("__")))
        raise IonError("no-signature", f"{folder.name} has no signature {name}", f"it has: {known or 'none'}")
    return _tensors(found[name].inputs), _tensors(found[name].outputs)


def _tensors(tensors: Mapping[str, Any]) -> list[dict[str, str]]:
    import tensorflow as tf

    rows = []
    for key in sorted(tensors):
        shape = tensors[key].tensor_shape
        places = "..." if shape.unknown_rank else ", ".join("?" if d.size < 0 else str(d.size) for d in shape.dim)
        rows.append({"name": key, "type": f"{tf.dtypes.as_dtype(tensors[key].dtype).name}[{places}]"})
    return rows


def _layers(model: keras.Model, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for layer in model.layers:
        yield f"{prefix}{layer.name}", layer
        if hasattr(layer, "layers"):
            yield from _layers(layer, f"{prefix}{layer.name}.")


def _plain(config: Mapping[str, Any]) -> dict[str, object]:
    """Return a configuration as JSON values; of an object in it (an initializer, a layer) its class."""
    found = {}
    for name, value in config.items():
        if name in _UNTOLD or value is None:
            continue
        inner = value.get("class_name") if isinstance(value, dict) else None
        found[name] = inner or json_value(value)
    return found
