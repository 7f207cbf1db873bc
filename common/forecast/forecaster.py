"""Turn windows into forecasts in KES, for validation, backtests and serving alike, without TensorFlow."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from common.errors import BundleError
from common.forecast.factors import Factors
from common.forecast.prices import Prices
from common.forecast.probabilities import ProbabilityCalibration
from common.forecast.representation import Representation
from common.prices.windows import Windows, id_column

Network = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(windows (N, size, C) float32, stock ids (N, 1) int32) -> outputs (N, H, K)."""
CHUNK = 4096
BLOCK = 16
"""Windows that a network runs at once: less than half the time of one by one."""
MANY = 1024
"""Windows from which on threads are worth starting; no request has this many."""
ONLY_THIS_FILE = {
    "session.model_external_initializers_file_folder_path": os.devnull,
    "session.load_model_format": "ONNX",
}
"""Weights in other files are never found. By default they are looked up in the working directory."""


class OnnxNetwork:
    """A single-file network in ONNX Runtime, on one thread.

    Raises
    ------
    BundleError
        If the file is not such a network.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime  # 18 MB, which a router does not need

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # errors are raised
        for name, value in ONLY_THIS_FILE.items():
            options.add_session_config_entry(name, value)
        try:
            self._session = onnxruntime.InferenceSession(
                path.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise BundleError(f"{path}: not a usable network: {reason}.", path=str(path)) from None
        self._same_together = {1: True}
        self._session._model_bytes = None  # only needed to fall back to another provider
        names = sorted(node.name for node in self._session.get_inputs())
        if names != ["stock_id", "window"]:
            raise BundleError(f"{path}: inputs are {names}, need stock_id and window.", path=str(path))

    def same_together(self, count: int) -> bool:
        """Whether ``count`` windows have the same outputs to the last digit together as alone.

        Tried once, on random windows: the order of additions may depend on the number of windows, but not on
        their values.
        """
        if count not in self._same_together:
            windows, stocks = self._session.get_inputs()
            x = np.random.default_rng(0).normal(size=(count, *windows.shape[1:])).astype(np.float32)
            ids = np.zeros((count, *stocks.shape[1:]), np.int32)
            alone = [self._run(x[row : row + 1], ids[row : row + 1]) for row in range(count)]
            self._same_together[count] = np.array_equal(self._run(x, ids), np.concatenate(alone))
        return self._same_together[count]

    def __call__(self, x: np.ndarray, stock_id: np.ndarray) -> np.ndarray:
        """Run the windows in blocks of up to ``BLOCK``.

        A window's output has the same digits in any block; where the machine does not keep that
        (`same_together`), the block's windows run one by one. Many windows are split among as many threads
        as there are CPUs.

        Raises
        ------
        BundleError
            If the network cannot be run on them.
        """

        def run(part: slice) -> list[np.ndarray]:
            windows, ids = x[part], stock_id[part]
            blocks = [slice(start, start + BLOCK) for start in range(0, len(windows), BLOCK)]
            return [rows for block in blocks for rows in self._run_block(windows[block], ids[block])]

        try:
            if len(x) < MANY:
                return np.concatenate(run(slice(None)))
            threads = _cpus()
            edges = np.linspace(0, len(x), threads + 1).astype(int)
            with ThreadPoolExecutor(threads) as pool:
                parts = pool.map(run, map(slice, edges[:-1], edges[1:]))
                return np.concatenate([row for part in parts for row in part])
        except Exception as error:
            raise BundleError(f"the network cannot be run: {str(error).partition(chr(10))[0]}.") from None

    def _run_block(self, x: np.ndarray, stock_id: np.ndarray) -> list[np.ndarray]:
        if self.same_together(len(x)):
            return [self._run(x, stock_id)]
        return [self._run(x[row : row + 1], stock_id[row : row + 1]) for row in range(len(x))]

    def _run(self, x: np.ndarray, stock_id: np.ndarray) -> np.ndarray:
        outputs: np.ndarray = self._session.run(None, {"window": x, "stock_id": stock_id})[0]
        return outputs


def _cpus() -> int:
    """Return the CPUs that affinity and the container's limits leave to this process."""
    import joblib  # not needed for serving

    count: int = joblib.cpu_count()
    return count


@dataclass(frozen=True)
class ModelForecaster:
    """A network, the representation it was trained in, and the ids of the stocks it knows."""

    network: Network
    representation: Representation
    stock_ids: dict[str, int]
    """Stock id by symbol; any other symbol has id 0, "unknown"."""
    trusted: dict[str, bool] = field(default_factory=dict)
    """Whether the model beat the last price on validation, by symbol. A symbol that is missing was never
    judged on its own and gets the model's price. Not used where there are ``factors``."""
    factors: Factors | None = None
    """Factors of the forecast changes, fitted on validation; None in releases published without them."""
    probability_calibration: ProbabilityCalibration | None = None
    """None: the mixture's own probabilities are served."""

    def forecast(self, windows: Windows, levels: np.ndarray | None = None) -> Prices:
        """Forecast every window and horizon in KES: `outputs`, then `prices`."""
        return self.prices(windows, self.outputs(windows), levels)

    def is_like(self, other: "ModelForecaster") -> bool:
        """Whether both models prepare windows and convert outputs alike: only the networks differ."""
        trusted = self.trusted if self.factors is None else other.trusted  # not used where there are factors
        return replace(self, network=other.network, stock_ids=other.stock_ids, trusted=trusted) == other

    def outputs(self, windows: Windows) -> np.ndarray:
        """Run the network, shape (N, H, K); BundleError if its output has another shape or is not finite."""
        if not len(windows):
            return np.empty((0, len(windows.spec.horizons), self.representation.outputs), np.float32)
        parts = [windows.take(slice(start, start + CHUNK)) for start in range(0, len(windows), CHUNK)]
        return np.concatenate([self._run(part, self.representation.inputs(part)) for part in parts])

    def _run(self, windows: Windows, inputs: np.ndarray) -> np.ndarray:
        """Run the network on the inputs of windows; returns and raises as `outputs`."""
        outputs = self.network(inputs, id_column(windows, self.stock_ids))
        shape = (len(windows), len(windows.spec.horizons), self.representation.outputs)
        if outputs.shape != shape or outputs.dtype.kind != "f":
            raise BundleError(
                f"the network returned {outputs.dtype} of shape {outputs.shape}, need floating point of "
                f"shape {shape}. Train and publish it again."
            )
        if not np.isfinite(outputs).all():
            raise BundleError("the network returned numbers that are not finite. Train and publish it again.")
        return outputs

    def prices(self, windows: Windows, outputs: np.ndarray, levels: np.ndarray | None = None) -> Prices:
        """Convert the network's outputs to KES.

        The last price is published where the price never moved inside the window, and where the horizon's
        factor is 0. Without factors it is published for stocks whose model is not trusted.

        Parameters
        ----------
        levels : shape (N, H, 3), optional
            Levels of the intervals, see `Calibration`; default: the nominal ones.
        """
        factors = None if self.factors is None else self.factors.values
        prices = self.representation.prices(windows, outputs, levels, factors)
        if self.probability_calibration:
            calibrated = self.probability_calibration.apply(prices.probabilities)
            prices = replace(prices, probabilities=calibrated)
        if self.factors is not None:
            return prices
        trusted = [self.trusted.get(symbol, True) for symbol in windows.series.symbols]
        by_model = prices.by_model & np.array(trusted, dtype=bool)[windows.symbol][:, None]
        published = np.where(by_model, prices.published, prices.last[:, None])
        return replace(prices, published=published, by_model=by_model)


def forecast_together(
    models: Sequence[tuple[ModelForecaster, np.ndarray]], windows: Windows, levels: np.ndarray
) -> Prices:
    """Forecast windows of several models, with the same digits as one by one.

    Inputs and prices are computed for all windows at once, which takes a fifth of the time.

    Parameters
    ----------
    models : the models, and the positions of the windows of each; together these are all windows
    levels : as in `ModelForecaster.prices`

    Raises
    ------
    ValueError
        If the models are not alike, see `ModelForecaster.is_like`.
    """
    first, _ = models[0]
    if not all(first.is_like(model) for model, _ in models[1:]):
        raise ValueError("models: they differ in scaler, factors or calibration. Forecast each alone.")
    inputs, order = first.representation.inputs(windows), np.concatenate([rows for _, rows in models])
    outputs = np.concatenate([model._run(windows.take(rows), inputs[rows]) for model, rows in models])
    return first.prices(windows, outputs[np.argsort(order)], levels)
