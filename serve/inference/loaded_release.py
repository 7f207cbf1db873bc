"""One release at the counter: questions become windows, forecasts become answers."""

import dataclasses
import datetime as dt
from dataclasses import dataclass
from typing import get_args

import numpy as np

from common.errors import BadRequest, BundleError
from common.presets import WindowSpec
from common.prices.windows import Windows
from common.release.bundle import GENERAL, BundleFiles
from common.release.forecasts import ReleasedModels
from common.release.manifest import Release, damaged, read_json
from serve.inference.caveats import cautions, sessions_behind
from serve.inference.model_cache import model_key, split_key
from serve.inference.routing import Route, route
from serve.inference.window_builder import PriceHistory, brought_window
from serve.schemas.forecast import Caveat, Horizon, PredictRequest, days_of
from serve.schemas.matrix import HorizonErrors, read_matrix


@dataclass(frozen=True)
class PreparedRequest:
    """A question made ready for a model; ``windows`` and ``asked`` are all that a replica needs."""

    request: PredictRequest
    route: Route
    windows: Windows
    """One window, over a series of its own rows only."""
    asked: np.ndarray
    """Levels to ask the intervals for, shape (1, H, 3)."""
    place: int
    """Position of the horizon asked for among the release's."""
    sessions_behind: int
    """Sessions of the market since the last price."""
    caveats: tuple[Caveat, ...]
    key: str
    """``JOB@release`` of the model, see `serve.inference.model_cache.model_key`."""


class LoadedRelease:
    """Everything a router needs of one release; it loads no network, and nothing in it changes.

    The prices that `serve.inference.response.answer` takes are those of the bundle ``prepared.key``:
    ``bundle.forecaster.forecast(prepared.windows, prepared.asked)``.

    Raises
    ------
    BundleError
        If a file of the release cannot be understood. Whether each is as published is for the caller to
        check (`Registry.open`).
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
        self.places = {served[h]: place for place, h in enumerate(self.spec.horizons) if h in served}
        """Position of each horizon that can be asked for among the release's."""
        self.past = PriceHistory(self.panel, self.universe, self.spec)
        self.matrix = read_matrix(release)
        self.valid_end = _day(release, "valid_end")
        """The models were fitted and chosen on what came before."""
        self.sectors: dict[str, list[str]] = {}
        for stock in self.universe.stocks:
            self.sectors.setdefault(stock.sector, []).append(stock.symbol)
        calibration = models.calibration
        self._level_dates = calibration.dates
        start = calibration.on(np.array(["0001-01-01"], "datetime64[D]"))
        self._levels = np.concatenate([start, calibration.asked])

    @property
    def data_end(self) -> dt.date:
        """The last session of the release's prices."""
        return self.past.sessions.last.item()

    def is_slow(self, request: PredictRequest) -> bool:
        """Whether `prepare` would take tenths of a second, so that it belongs in a thread."""
        return not request.brings_prices and self.past.is_slow(request.symbol, request.as_of)

    def prepare(
        self,
        request: PredictRequest,
        bad: frozenset[str] = frozenset(),
        *,
        today: dt.date | None = None,
    ) -> PreparedRequest:
        """Route a request and cut its window.

        Parameters
        ----------
        bad : keys (`model_key`) of models that cannot be loaded
        today : as in the evening of that day; default: now, by the exchange's clock

        Raises
        ------
        UnknownSymbol
            If the symbol is no counter, unless the request allows that and brings prices.
        InsufficientHistory
            If there are too few prices, or none up to ``as_of``.
        BadRequest
            If the release has no such horizon, or ``as_of`` is in the future.
        """
        due, today = today or self.clock.last_due(), today or self.clock.today()
        chosen = route(
            request.symbol,
            self.universe,
            self.good(bad),
            allow_unknown=request.allow_unknown,
            brings_prices=request.brings_prices,
        )
        if request.horizon not in self.places:
            raise BadRequest(
                f"horizon: got {request.horizon}, this release has {', '.join(self.places)}. Choose one."
            )
        if request.as_of:
            self.past.check_day(request.as_of, today)
        if request.brings_prices:
            windows = brought_window(request, self.past.sessions, self.spec, today)
        else:
            windows = self.past.window(request.symbol, request.as_of)
        behind = sessions_behind(request, windows, self.past.sessions)
        return PreparedRequest(
            request=request,
            route=chosen,
            windows=windows,
            asked=self._asked(windows.cutoff),
            place=self.places[request.horizon],
            sessions_behind=behind,
            caveats=cautions(self, request, chosen, windows, behind, due),
            key=model_key(chosen.job, self.release.id),
        )

    def general(self, prepared: PreparedRequest) -> PreparedRequest:
        """The same question for the general model: when the stock's own cannot be loaded."""
        if prepared.route.job == GENERAL:
            return prepared
        chosen = dataclasses.replace(prepared.route, model_type=GENERAL, job=GENERAL)
        why = Caveat(
            code="fallback", message="The stock's own model cannot be loaded; the general one answers."
        )
        return dataclasses.replace(
            prepared,
            route=chosen,
            caveats=(*prepared.caveats, why),
            key=model_key(GENERAL, self.release.id),
        )

    def measured(self, symbol: str, horizon: Horizon) -> HorizonErrors | None:
        """How good the forecasts of that stock and horizon were on the test part."""
        row = self.matrix.get(symbol)
        return row.horizons.get(horizon) if row else None

    def in_sector(self, name: str) -> list[str]:
        """Symbols of a sector, whatever its case; BadRequest names the sectors there are."""
        for sector, symbols in self.sectors.items():
            if sector.casefold() == name.strip().casefold():
                return symbols
        raise BadRequest(f"sector: no {name[:64]!r}. There are: {'; '.join(self.sectors)}.")

    def good(self, bad: frozenset[str]) -> frozenset[str]:
        """Symbols with a model of their own whose key is not among the bad ones."""
        if not bad:
            return self.own
        return self.own - {job for job, release_id in map(split_key, bad) if release_id == self.release.id}

    def _asked(self, evenings: np.ndarray) -> np.ndarray:
        """`Calibration.on`, without joining its table anew."""
        return self._levels[np.searchsorted(self._level_dates, evenings, side="right")]


def _window_spec(release: Release, preset: str) -> WindowSpec:
    """The general model's windows, from its metadata alone."""
    path = release.file(BundleFiles.of(preset, GENERAL).folder / "metadata.json")
    try:
        return WindowSpec.model_validate(read_json(path)["window"])
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path}: {type(error).__name__}: {error}. Publish the release again.") from None


def _day(release: Release, name: str) -> dt.date:
    """A date that the manifest has to give."""
    try:
        return dt.date.fromisoformat(release.info[name])
    except (KeyError, TypeError, ValueError):
        got = f"{name} {release.info.get(name)!r:.80}"
        raise damaged(release.id, "manifest.json", got=got, need="a date") from None
