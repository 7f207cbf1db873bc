"""From windows to KES: the one path that validation, backtests and serving share. No TensorFlow here."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from common.data.windows import Windows, id_column
from common.errors import BundleError
from common.model.representation import Prices, Representation

Network = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(windows (N, size, C) float32, stock ids (N, 1) int32) -> outputs (N, H, K)."""
CHUNK = 4096


class OnnxNetwork:
    """An exported network under ONNX Runtime, on one thread.

    Raises
    ------
    BundleError
        If the file is not a network of that kind.
    """

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(
                path.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise BundleError(f"{path}: not a usable network: {reason}.", path=str(path)) from None
        names = sorted(node.name for node in self._session.get_inputs())
        if names != ["stock_id", "window"]:
            raise BundleError(f"{path}: inputs are {names}, need stock_id and window.", path=str(path))

    def __call__(self, x: np.ndarray, stock_id: np.ndarray) -> np.ndarray:
        return self._session.run(None, {"window": x, "stock_id": stock_id})[0]


@dataclass(frozen=True)
class Forecaster:
    """A network, the representation it was trained in, and the ids of the stocks it knows."""

    network: Network
    representation: Representation
    stock_ids: dict[str, int]
    """Stock id by symbol; any other symbol is 0, "unknown"."""

    def forecast(self, windows: Windows) -> Prices:
        """Forecasts in KES for every window and horizon.

        A window in which the price never moved gets the last price, whatever the network says.

        Raises
        ------
        BundleError
            If the network gives anything but finite numbers.
        """
        none = np.empty((0, len(windows.spec.horizons), self.representation.outputs), dtype=np.float32)
        parts = [
            self.network(self.representation.inputs(part), id_column(part, self.stock_ids))
            for part in (
                windows.take(np.arange(start, min(start + CHUNK, len(windows))))
                for start in range(0, len(windows), CHUNK)
            )
        ]
        outputs = np.concatenate(parts) if parts else none
        if not np.isfinite(outputs).all():
            raise BundleError("the network gave numbers that are not finite. Train and publish it again.")
        return self.representation.prices(windows, outputs)
