"""A seeded synthetic market, written in the archive's own file format with the archive's own defects.

It stands in for the real archive wherever that cannot be had: tests, demonstrations, load tests with
thousands of counters. `common.synthetic.simulate` invents it; this module spoils and writes it.
"""

import datetime as dt
import itertools
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from common import storage
from common.archive.layouts import SYNTHETIC_FILE
from common.errors import ArchiveError
from common.synthetic import write as market_files
from common.synthetic.simulate import INDICES, Day, MarketConfig, MarketPlan, make_plan, on_tick, simulate

__all__ = ["Defect", "MarketConfig", "MarketReport", "write_market"]


@dataclass(frozen=True)
class Defect:
    """One planted fault or event; ``symbol`` is None where it concerns the whole day."""

    kind: str
    day: dt.date
    symbol: str | None = None
    detail: str = ""


@dataclass(frozen=True)
class MarketReport:
    """What `write_market` wrote; ``defects`` is the truth a reader of the files should find."""

    files: tuple[Path, ...]
    defects: tuple[Defect, ...]
    symbols: tuple[str, ...]
    sessions: int
    rows: int


def write_market(
    folder: Path, config: MarketConfig, progress: Callable[[int, int], None] | None = None
) -> MarketReport:
    """Write the market as an archive folder: a file per year, the sector file and ``synthetic.json``.

    Parameters
    ----------
    folder : Path
        Made if missing; an older synthetic market in it is replaced.
    config : MarketConfig
    progress : callable, optional
        Called with (steps done, steps in all); the market is walked twice, first for the 12-month extremes.

    Raises
    ------
    ArchiveError
        If the folder holds price files that are not a synthetic market's: they would be lost.
    """
    plan = make_plan(config)
    older = sorted(folder.glob("NSE_data_*.csv"))
    if older and not (folder / SYNTHETIC_FILE).exists():
        raise ArchiveError(
            f"{folder}: holds {older[0].name} and no {SYNTHETIC_FILE}, so it may be the "
            "real archive. Choose another folder for the synthetic market.",
            folder=str(folder),
        )
    storage.write_json(folder / SYNTHETIC_FILE, {"synthetic": True, "complete": False})
    for path in older:
        path.unlink()
    report = _Writer(folder, config, plan, progress or (lambda done, of: None)).write()
    storage.write_json(
        folder / SYNTHETIC_FILE,
        {
            "synthetic": True,
            "complete": True,
            "config": config.model_dump(mode="json"),
            "rows": report.rows,
            "defects": [asdict(defect) | {"day": f"{defect.day}"} for defect in report.defects],
        },
    )
    return report


class _Writer:
    """One walk over the true sessions for the yearly extremes, a second one to spoil and write them."""

    def __init__(
        self, folder: Path, config: MarketConfig, plan: MarketPlan, progress: Callable[[int, int], None]
    ) -> None:
        self.folder, self.config, self.plan, self.progress = folder, config, plan, progress
        self.codes = [*plan.symbols, *INDICES]
        self.names = [*plan.names, *INDICES.values()]
        self.found: list[Defect] = []
        self.rows = 0
        self.adjusted_until = sum(date.year <= 2022 for date in plan.days)
        self.before: tuple[list[str], list[list[int]]] = [], []

    def write(self) -> MarketReport:
        extremes = self._extremes()
        files = []
        for year, group in itertools.groupby(simulate(self.config, self.plan), lambda day: day.date.year):
            target = self.folder / market_files.year_file(year)
            text = market_files.YearText(
                year, self.codes, self.names, *(side.tolist() for side in extremes.pop(year))
            )
            with (
                storage.atomic_path(target) as temporary,
                temporary.open("w", encoding=market_files.encoding(year), newline="") as stream,
            ):
                stream.write(market_files.header(year) + "\n")
                for day in group:
                    self._write_day(stream, text, day)
            files.append(target)
        files.append(self.folder / market_files.SECTORS_FILE)
        stocks = zip(self.plan.sectors, self.plan.symbols, self.plan.names, strict=True)
        lines = market_files.sector_lines(stocks, INDICES)
        storage.write_bytes(files[-1], ("\n".join(lines) + "\n").encode())
        return MarketReport(
            tuple(files), tuple(self.found), tuple(self.plan.symbols), len(self.plan.days), self.rows
        )

    def _extremes(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for day in simulate(self.config, self.plan):
            low, high = found.get(day.date.year, (day.low, day.high))
            found[day.date.year] = np.minimum(low, day.low), np.maximum(high, day.high)
            self.progress(day.position + 1, 2 * len(self.plan.days))
        return found

    def _write_day(self, stream: TextIO, text: market_files.YearText, day: Day) -> None:
        kind = self.plan.defects.get(day.position, "")
        fields = [side.tolist() for side in (day.low, day.high, day.close, day.previous, day.volume)]
        if kind == "fake_volume":
            fields[:3], fields[4] = self.before[1][:3], self.before[1][4]
        self._spoil_row(kind, day, fields)
        if self.plan.defects.get(day.position - 1) == "stale_run":
            kind = "stale_run"
        copied = kind in ("stale_day", "stale_run")
        if copied:
            rows = self.before[0]
        else:
            low, high, close, previous, volume = fields
            rows = text.rows(day.members.tolist(), low, high, close, previous, volume, self._adjusted(day))
        self.before = rows, fields
        if copied or kind in ("missing_day", "doubled_day", "mistyped_date", "fake_volume"):
            self.found.append(Defect(kind, day.date))
        self._note_events(day)

        shown = _two_years_back(day.date) if kind == "mistyped_date" else day.date
        if kind != "missing_day":
            date = market_files.date_text(shown, text.year)
            block = "".join(f"{date},{row}\n" for row in rows)
            stream.write(block * (2 if kind == "doubled_day" else 1))
            self.rows += len(rows) * (2 if kind == "doubled_day" else 1)
        if kind == "comma_row":
            stream.write(market_files.COMMA_ROW + "\n")
            self.found.append(Defect(kind, day.date))
        self.progress(len(self.plan.days) + day.position + 1, 2 * len(self.plan.days))

    def _spoil_row(self, kind: str, day: Day, fields: list[list[int]]) -> None:
        """Blank or bend one row's numbers in place, on a counter that traded and moved."""
        counters = len(self.plan.symbols)
        moved = np.flatnonzero((day.volume > 0) & (day.close != day.previous) & (day.previous > 0))
        if kind not in ("no_range", "bad_range", "no_price") or not len(moved):
            return
        rng = np.random.default_rng([self.config.seed, 2, day.position])
        row = int(rng.choice(moved[moved < counters]))
        low, high, close = fields[:3]
        if kind == "bad_range":
            low[row] = high[row] = int(on_tick(day.low[row] * 0.92))
        else:
            low[row] = high[row] = 0
        if kind == "no_price":
            close[row] = 0
        self.found.append(Defect(kind, day.date, self.codes[row]))

    def _adjusted(self, day: Day) -> dict[int, int]:
        """Closes times the ratio of a split still to come: the files to 2022 give them away."""
        if day.date.year > 2022:
            return {}
        plan = self.plan
        ahead = np.flatnonzero((plan.action_at > day.position) & (plan.action_at < self.adjusted_until))
        return {int(i): int(np.rint(day.close[i] * plan.ratio[i])) for i in ahead}

    def _note_events(self, day: Day) -> None:
        plan = self.plan
        for i in np.flatnonzero(plan.action_at == day.position):
            self.found.append(Defect("action", day.date, plan.symbols[i], f"ratio {plan.ratio[i]:.4g}"))
        for i in np.flatnonzero((plan.suspended_from == day.position) & (plan.activity > 0)):
            length = plan.suspended_until[i] - day.position
            self.found.append(Defect("suspension", day.date, plan.symbols[i], f"{length} sessions"))
        for i in np.flatnonzero(plan.listed_from == day.position):
            if day.position:
                self.found.append(Defect("listing", day.date, plan.symbols[i]))


def _two_years_back(day: dt.date) -> dt.date:
    return day.replace(year=day.year - 2, day=min(day.day, 28) if day.month == 2 else day.day)
