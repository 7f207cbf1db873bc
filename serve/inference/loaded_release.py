"""A release in a router's memory, and the preparation of requests."""

import dataclasses
import datetime as dt
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import get_args

import numpy as np

from common.errors import BadRequest, BundleError
from common.forecast.prices import Prices
from common.presets import WindowSpec
from common.prices.windows import Windows
from common.release.bundle import GENERAL, BundleFiles
from common.release.manifest import Release, damaged, read_json
from common.release.released_models import ReleasedModels
from serve.inference.caveats import FALLBACK, cautions, sessions_behind
from serve.inference.model_cache import model_key, split_key
from serve.inference.routing import Route, route
from serve.inference.window_builder import PriceHistory, request_window
from serve.schemas.forecast import Caveat, Horizon, MapeSource, PredictRequest, PredictResponse, days_of
from serve.schemas.matrix import HorizonErrors, pooled_mape, read_matrix

PREPARED_KEPT = 4_096
"""Prepared requests that a router keeps."""


@dataclass(frozen=True)
class PreparedRequest:
    """A request with its model, window and caveats; a replica needs ``windows`` and ``levels``."""

    request: PredictRequest
    route: Route
    windows: Windows
    """One window, over a series of its own rows only."""
    levels: np.ndarray
    """Levels of the intervals, shape (1, H, 3)."""
    position: int
    """Position of the requested horizon among the release's."""
    sessions_behind: int
    """Sessions of the market since the last price."""
    caveats: tuple[Caveat, ...]
    key: str
    """``JOB@release`` of the model, see `serve.inference.model_cache.model_key`."""
    requested: str
    """The stock as the client wrote it; ``request`` has its symbol."""
    responses: dict[int, tuple[Prices, PredictResponse]] = field(default_factory=dict, compare=False)
    """The last response, by the id of its prices; shared by equal requests."""


class LoadedRelease:
    """What a router needs of one release, without its networks; immutable.

    The bundle of ``prepared.key`` computes a prepared request's prices:
    ``bundle.forecaster.forecast(prepared.windows, prepared.levels)``.

    Raises
    ------
    BundleError
        If a file of the release cannot be parsed. `Registry.open` verifies the files' digests.
    """

    def __init__(self, release: Release) -> None:
        models = ReleasedModels(release)
        self.release, self.preset = release, str(release.info["preset"])
        self.universe, self.panel = models.universe, models.panel
        self.clock = self.universe.clock
        self.own = models.models.own
        """Symbols with a model of their own."""
        self.spec = _window_spec(release, self.preset)
        served = {days_of(horizon): horizon for horizon in get_args(Horizon)}
        self.positions = {served[h]: position for position, h in enumerate(self.spec.horizons) if h in served}
        """Position of each served horizon among the release's."""
        self.history = PriceHistory(self.panel, self.universe, self.spec)
        self.matrix = read_matrix(release)
        self.valid_end = _day(release, "valid_end")
        """The release's figures are measured on prices after this day."""
        self.seen_until = models.seen_until
        """The served networks were fitted and chosen on prices before this day."""
        self.sectors: dict[str, list[str]] = {}
        for stock in self.universe.stocks:
            self.sectors.setdefault(stock.sector, []).append(stock.symbol)
        self._calibration = models.calibration
        self._newest: dict[str, tuple[Windows, np.ndarray]] = {}
        self._prepared: dict[Hashable, PreparedRequest] = {}
        """Requests without prices and ``as_of``: prepared alike until the day or ``bad`` changes."""
        rows = self.matrix.values()
        self._pooled_mape = {horizon: pooled_mape(rows, horizon) for horizon in self.positions}

    @property
    def data_end(self) -> dt.date:
        """The last session of the release's prices."""
        return self.history.sessions.last.item()

    def is_slow(self, request: PredictRequest) -> bool:
        """Whether `prepare` would take milliseconds or longer, so that it belongs in a thread."""
        if request.symbol not in self.universe.symbols:  # a name to search
            return True
        if request.as_of is None or request.has_prices:
            return False
        return self.history.is_slow(request.symbol, request.as_of)

    def prepare(
        self,
        request: PredictRequest,
        bad: frozenset[str] = frozenset(),
        *,
        today: dt.date | None = None,
    ) -> PreparedRequest:
        """Route a request and build its window.

        Parameters
        ----------
        bad : keys (`model_key`) of models that cannot be loaded
        today : answer as on the evening of that day; default: now, by the exchange's clock

        Raises
        ------
        UnknownSymbol
            If `find_stock` does not find the symbol, unless the request allows that and includes prices.
        InsufficientHistory
            If there are too few prices, or none up to ``as_of``.
        BadRequest
            If the release has no such horizon, or ``as_of`` is in the future.
        """
        now = self.clock.now()
        due, today = today or self.clock.last_due(now), today or self.clock.today(now)
        key = request.symbol, request.horizon, due, today, bad
        if request.as_of is None and not request.has_prices and (known := self._prepared.get(key)):
            return dataclasses.replace(known, request=request)
        prepared = self._prepare(request, bad, due, today)
        if request.as_of is None and not request.has_prices and request.symbol == prepared.route.symbol:
            if len(self._prepared) >= PREPARED_KEPT:
                self._prepared.clear()
            self._prepared[key] = prepared
        return prepared

    def _prepare(
        self, request: PredictRequest, bad: frozenset[str], due: dt.date, today: dt.date
    ) -> PreparedRequest:
        requested = request.symbol
        chosen = route(
            request.symbol,
            self.universe,
            self.loadable(bad),
            allow_unknown=request.allow_unknown,
            has_prices=request.has_prices,
        )
        if chosen.symbol != request.symbol:
            request = request.model_copy(update={"symbol": chosen.symbol})
        if request.horizon not in self.positions:
            raise BadRequest(
                f"horizon: got {request.horizon}, this release has {', '.join(self.positions)}. Choose one."
            )
        if request.as_of:
            self.history.check_day(request.as_of, today)
        windows, levels = self._inputs(request, today)
        behind = sessions_behind(request, windows, self.history.sessions)
        return PreparedRequest(
            request=request,
            route=chosen,
            windows=windows,
            levels=levels,
            position=self.positions[request.horizon],
            sessions_behind=behind,
            caveats=cautions(
                request,
                chosen,
                windows,
                self.history,
                own=self.own,
                seen_until=self.seen_until,
                behind=behind,
                due=due,
            ),
            key=model_key(chosen.job, self.release.id),
            requested=requested,
        )

    def _inputs(self, request: PredictRequest, today: dt.date) -> tuple[Windows, np.ndarray]:
        """Return the window and the levels of its intervals; those of a stock's newest window are kept."""
        newest = not request.has_prices and request.as_of is None
        if newest and (known := self._newest.get(request.symbol)):
            return known
        if request.has_prices:
            windows = request_window(request, self.history.sessions, self.spec, today)
        else:
            windows = self.history.window(request.symbol, request.as_of)
        inputs = windows, self._calibration.for_windows(windows)
        if newest:
            self._newest[request.symbol] = inputs
        return inputs

    def general(self, prepared: PreparedRequest) -> PreparedRequest:
        """Return the same request for the general model, as the fallback from the stock's own."""
        if prepared.route.job == GENERAL:
            return prepared
        return dataclasses.replace(
            prepared,
            route=dataclasses.replace(prepared.route, model_type=GENERAL, job=GENERAL),
            caveats=(*prepared.caveats, FALLBACK),
            key=model_key(GENERAL, self.release.id),
            responses={},
        )

    def measured(self, symbol: str, horizon: Horizon) -> HorizonErrors | None:
        """How good the forecasts of that stock and horizon were on the test part."""
        row = self.matrix.get(symbol)
        return row.horizons.get(horizon) if row else None

    def mape(self, symbol: str, horizon: Horizon) -> tuple[float | None, MapeSource | None]:
        """Return the MAPE at a horizon and of what it is, see `PredictResponse.mape_source`."""
        measured = self.measured(symbol, horizon)
        if measured and measured.mape is not None:
            return measured.mape, "stock"
        return self._pooled_mape.get(horizon, (None, None))

    def in_sector(self, name: str) -> list[str]:
        """Return the symbols of a sector, ignoring case; raises BadRequest for an unknown one."""
        for sector, symbols in self.sectors.items():
            if sector.casefold() == name.strip().casefold():
                return symbols
        raise BadRequest(f"sector: no {name[:64]!r}. There are: {'; '.join(self.sectors)}.")

    def loadable(self, bad: frozenset[str]) -> frozenset[str]:
        """Return the symbols with a model of their own whose key is not in ``bad``."""
        if not bad:
            return self.own
        return self.own - {job for job, release_id in map(split_key, bad) if release_id == self.release.id}


def _window_spec(release: Release, preset: str) -> WindowSpec:
    """Read the window of the general model from its metadata."""
    path = release.file(BundleFiles.of(preset, GENERAL).folder / "metadata.json")
    try:
        return WindowSpec.model_validate(read_json(path)["window"])
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path}: {type(error).__name__}: {error}. Publish the release again.") from None


def _day(release: Release, name: str) -> dt.date:
    """Read a date of the manifest; raises BundleError without one."""
    try:
        return dt.date.fromisoformat(release.info[name])
    except (KeyError, TypeError, ValueError):
        got = f"{name} {release.info.get(name)!r:.80}"
        raise damaged(release.id, "manifest.json", got=got, need="a date") from None
