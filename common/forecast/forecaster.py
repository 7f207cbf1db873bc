"""From windows to KES: the one path that validation, backtests and serving share. No TensorFlow here."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from common.errors import BundleError
from common.forecast.prices import Prices
from common.forecast.representation import Representation
from common.prices.windows import Windows, id_column

Network = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(windows (N, size, C) float32, stock ids (N, 1) int32) -> outputs (N, H, K)."""
CHUNK = 4096
MANY = 1024
"""Windows, from which on threads are worth starting; no request has so many."""
ONLY_THIS_FILE = {
    "session.model_external_initializers_file_folder_path": os.devnull,
    "session.load_model_format": "ONNX",
}
"""Weights in other files are looked for where there are none; by default that is the working directory."""


class OnnxNetwork:
    """An exported network under ONNX Runtime, on one thread; it is one file and reads no other.

    Raises
    ------
    BundleError
        If the file is not a network of that kind.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime  # 18 MB that a router, which loads no network, does without

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what is wrong is raised
        for name, value in ONLY_THIS_FILE.items():
            options.add_session_config_entry(name, value)
        try:
            self._session = onnxruntime.InferenceSession(
                path.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise BundleError(f"{path}: not a usable network: {reason}.", path=str(path)) from None
        self._session._model_bytes = None  # kept for other providers to start over with: there are none
        names = sorted(node.name for node in self._session.get_inputs())
        if names != ["stock_id", "window"]:
            raise BundleError(f"{path}: inputs are {names}, need stock_id and window.", path=str(path))

    def __call__(self, x: np.ndarray, stock_id: np.ndarray) -> np.ndarray:
        """One window after the other: in a batch the last digits would depend on its other windows.

        Many windows are shared out to as many threads as there are CPUs, each of which runs them one by one.

        Raises
        ------
        BundleError
            If the network cannot be run on them.
        """

        def each(part: slice) -> list[np.ndarray]:
            pairs = zip(x[part, None], stock_id[part, None], strict=True)
            return [self._session.run(None, {"window": one, "stock_id": id})[0] for one, id in pairs]

        try:
            if len(x) < MANY:
                return np.concatenate(each(slice(None)))
            threads = _cpus()
            edges = np.linspace(0, len(x), threads + 1).astype(int)
            with ThreadPoolExecutor(threads) as pool:
                parts = pool.map(each, map(slice, edges[:-1], edges[1:]))
                return np.concatenate([row for part in parts for row in part])
        except Exception as error:
            raise BundleError(f"the network cannot be run: {str(error).partition(chr(10))[0]}.") from None


def _cpus() -> int:
    """CPUs of this process, as its affinity and its container's limits have it."""
    import joblib  # serving does without

    count: int = joblib.cpu_count()
    return count


@dataclass(frozen=True)
class ModelForecaster:
    """A network, the representation it was trained in, and the ids of the stocks it knows."""

    network: Network
    representation: Representation
    stock_ids: dict[str, int]
    """Stock id by symbol; any other symbol is 0, "unknown"."""

    trusted: dict[str, bool] = field(default_factory=dict)
    """Whether the model beat the last price on validation, by symbol; one that is not here was never judged
    on its own and gets the model's price."""

    def forecast(self, windows: Windows, asked: np.ndarray | None = None) -> Prices:
        """Forecasts in KES for every window and horizon: `outputs`, then `prices`."""
        return self.prices(windows, self.outputs(windows), asked)

    def outputs(self, windows: Windows) -> np.ndarray:
        """What the network says, shape (N, H, K); BundleError if it is not that, or not finite."""
        none = np.empty((0, len(windows.spec.horizons), self.representation.outputs), dtype=np.float32)
        parts = [
            self.network(self.representation.inputs(part), id_column(part, self.stock_ids))
            for part in (
                windows.take(np.arange(start, min(start + CHUNK, len(windows))))
                for start in range(0, len(windows), CHUNK)
            )
        ]
        outputs = np.concatenate(parts) if parts else none
        if outputs.shape != (len(windows), *none.shape[1:]) or outputs.dtype.kind != "f":
            raise BundleError(
                f"the network gave {outputs.dtype} of shape {outputs.shape}, need floating point of shape "
                f"{(len(windows), *none.shape[1:])}. Train and publish it again."
            )
        if not np.isfinite(outputs).all():
            raise BundleError("the network gave numbers that are not finite. Train and publish it again.")
        return outputs

    def prices(self, windows: Windows, outputs: np.ndarray, asked: np.ndarray | None = None) -> Prices:
        """What the network said, in KES.

        A window in which the price never moved gets the last price, whatever the network says; and so
        does a stock for which the model is not trusted.

        Parameters
        ----------
        asked : shape (N, H, 3), optional
            Levels to ask the intervals for, see `Calibration`; default the nominal ones.
        """
        prices = self.representation.prices(windows, outputs, asked)
        by_model = prices.by_model & self._trust(windows)
        published = np.where(by_model, prices.published, prices.last[:, None])
        return replace(prices, published=published, by_model=by_model)

    def _trust(self, windows: Windows) -> np.ndarray:
        """Whether the model is trusted with each window's stock, shape (N, 1)."""
        by_symbol = [self.trusted.get(symbol, True) for symbol in windows.series.symbols]
        trusted: np.ndarray = np.array(by_symbol, dtype=bool)[windows.symbol][:, None]
        return trusted
