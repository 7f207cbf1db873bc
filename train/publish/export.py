"""Write a bundle: the Keras model, the ONNX model compared with the trained networks, and the scalers."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import keras
import numpy as np

from common import storage
from common.errors import BundleError
from common.forecast.log_price import LogPrice
from common.forecast.representation import Representation
from common.network.build import average_network, networks_of
from common.presets import NetworkConfig
from common.prices.windows import Windows, evenly, id_column
from common.release.bundle import GENERAL, BundleFiles, load_bundle
from train.publish.onnx_graph import onnx_model
from train.run.dataset import RunDataset, bundles_dir

PARITY = 1e-5
"""Largest difference allowed between the trained networks and ONNX, in units of the scaled output."""
PARITY_WINDOWS = 256


def write_bundle(
    dataset: RunDataset,
    job: str,
    network: NetworkConfig,
    members: list[list[np.ndarray]],
    metadata: dict[str, Any],
    *,
    trained: Callable[[np.ndarray, np.ndarray], np.ndarray],
    check: Windows,
) -> None:
    """Write one model's files below the run's ``bundles`` folder.

    Parameters
    ----------
    network : widths of the networks
    members : weights of the networks to average
    trained : the average of the networks as they were trained, from windows (N, size, C) and ids (N, 1) to
        outputs (N, H, K)
    check : real windows on which these networks and ONNX must agree

    Raises
    ------
    BundleError
        If they differ by more than ``PARITY``.
    """
    root = bundles_dir(dataset.run_dir)
    files = BundleFiles.of(dataset.config.preset, job)
    folder = root / files.folder
    shutil.rmtree(folder, ignore_errors=True)
    model = average_network(dataset.network_shape, network, members)
    windows = evenly(check, PARITY_WINDOWS)
    x, ids = dataset.representation.inputs(windows), id_column(windows, dataset.stock_ids(job))
    expected = trained(x, ids)
    storage.write_with(folder / files.weights, lambda path: model.save(path))
    storage.write_bytes(
        folder / "model.onnx", onnx_model(networks_of(model), dataset.network_shape).SerializeToString()
    )
    _write_scalers(folder / files.scaler, dataset.representation, job)
    stock_ids = dataset.stock_ids(job)
    if job == GENERAL:
        storage.write_json(folder / "stock_id_mapping.json", stock_ids)
        storage.write_json(folder / "embedding.json", _embedding(model, stock_ids))
    storage.write_json(
        folder / "metadata.json",
        metadata
        | {
            "preset": dataset.config.preset,
            "model_version": f"{dataset.config.preset}_{'general' if job == GENERAL else 'specific'}",
            "window": dataset.config.window.model_dump(mode="json"),
            "network": network.model_dump(mode="json"),
            "members": len(members),
            "stock_ids": stock_ids,
            "source": dataset.spec.source,
            "data_sha256": dataset.spec.data_sha256,
            "train_end": str(dataset.limits.train_end),
            "valid_end": str(dataset.limits.valid_end),
            "test_end": str(dataset.limits.test_end),
        },
    )
    bundle = load_bundle(root, dataset.config.preset, job)
    gap = float(np.abs(bundle.forecaster.network(x, ids) - expected).max(initial=0.0))
    if not gap <= PARITY:
        raise BundleError(
            f"{folder / 'model.onnx'}: differs from Keras by {gap:.2g} on real windows, allowed "
            f"{PARITY:.0e}. Train again; if it repeats, the versions of the exporter and ONNX Runtime do "
            "not fit together.",
            job=job,
            gap=gap,
        )


def _embedding(model: keras.Model, stock_ids: dict[str, int]) -> dict[str, list[float]]:
    """Each stock's embedding vector; those of averaged networks are concatenated."""
    vectors = [network.get_layer("stock_embedding").get_weights()[0] for network in networks_of(model)]
    weights = np.concatenate(vectors, axis=1)
    return {symbol: weights[number].tolist() for symbol, number in stock_ids.items()}


def _write_scalers(stem: Path, representation: Representation, job: str) -> None:
    """Write the scalers as JSON for serving, and as joblib (of plain numbers) for notebooks."""
    stored = representation.as_dict()
    if isinstance(representation, LogPrice) and job != GENERAL:
        stored["scalers"] = {job: stored["scalers"][job]}
    storage.write_json(stem.with_suffix(".json"), stored)
    content = json.loads(stem.with_suffix(".json").read_bytes())
    storage.write_with(stem.with_suffix(".joblib"), lambda path: joblib.dump(content, path))
