"""Write a seeded synthetic market in the archive's file format, with the archive's defects.

It replaces the real archive in tests, demonstrations and load tests with thousands of stocks.
`common.synthetic.simulate` simulates the market; this module plants the defects and writes the files.
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
    """One planted defect or event; ``symbol`` is None if it concerns the whole day."""

    kind: str
    day: dt.date
    symbol: str | None = None
    detail: str = ""


@dataclass(frozen=True)
class MarketReport:
    """Result of `write_market`; ``defects`` is what a reader of the files should find."""

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
        Created if missing; a synthetic market in it is replaced.
    config : MarketConfig
    progress : callable, optional
        Called with (steps done, total steps).

    Raises
    ------
    ArchiveError
        If the folder contains price files that may be those of the real archive.
    """
    plan = make_plan(config)
    old_files = sorted(folder.glob("NSE_data_*.csv"))
    if old_files and not (folder / SYNTHETIC_FILE).exists():
        raise ArchiveError(
            f"{folder}: contains {old_files[0].name} and no {SYNTHETIC_FILE}, so it may be the "
            "real archive. Choose another folder for the synthetic market.",
            folder=str(folder),
        )
    storage.write_json(folder / SYNTHETIC_FILE, {"synthetic": True, "complete": False})
    for path in old_files:
        path.unlink()
    report = _Writer(folder, config, plan, progress or (lambda done, total: None)).write()
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
    """Simulates the market and writes it with its defects."""

    def __init__(
        self, folder: Path, config: MarketConfig, plan: MarketPlan, progress: Callable[[int, int], None]
    ) -> None:
        self.folder, self.config, self.plan, self.progress = folder, config, plan, progress
        self.codes = [*plan.symbols, *INDICES]
        names = map(market_files.quoted, [*plan.names, *INDICES.values()])
        self.heads = [f"{code},{name}" for code, name in zip(self.codes, names, strict=True)]
        self.planted: list[Defect] = []
        self.rows = 0
        self.adjusted_until = sum(date.year <= 2022 for date in plan.days)
        self.last_rows: list[str] = []
        self.last_fields: list[list[int]] = []

    def write(self) -> MarketReport:
        files = []
        for year, group in itertools.groupby(simulate(self.config, self.plan), lambda day: day.date.year):
            target = self.folder / market_files.year_file(year)
            with (
                storage.atomic_path(target) as temporary,
                temporary.open("w", encoding=market_files.encoding(year), newline="") as stream,
            ):
                stream.write(market_files.header(year) + "\n")
                for day in group:
                    self._write_day(stream, day)
            files.append(target)
        files.append(self.folder / market_files.SECTORS_FILE)
        stocks = zip(self.plan.sectors, self.plan.symbols, self.plan.names, strict=True)
        lines = market_files.sector_lines(stocks, INDICES)
        storage.write_bytes(files[-1], ("\n".join(lines) + "\n").encode())
        return MarketReport(
            tuple(files), tuple(self.planted), tuple(self.plan.symbols), len(self.plan.days), self.rows
        )

    def _write_day(self, stream: TextIO, day: Day) -> None:
        year, kind = day.date.year, self.plan.defects.get(day.position, "")
        fields = [column.tolist() for column in (day.low, day.high, day.close, day.previous, day.volume)]
        if kind == "fake_volume":
            fields[:3], fields[4] = self.last_fields[:3], self.last_fields[4]
        self._spoil_row(kind, day, fields)
        if self.plan.defects.get(day.position - 1) == "stale_run":
            kind = "stale_run"
        copied = kind in ("stale_day", "stale_run")
        if not copied:
            members, adjusted = day.members.tolist(), self._adjusted(day)
            self.last_rows = market_files.day_rows(year, self.heads, members, fields, adjusted)
        rows, self.last_fields = self.last_rows, fields
        if copied or kind in ("missing_day", "doubled_day", "mistyped_date", "fake_volume"):
            self.planted.append(Defect(kind, day.date))
        self._note_events(day)

        if kind != "missing_day":
            written = _two_years_back(day.date) if kind == "mistyped_date" else day.date
            date, copies = market_files.date_text(written, year), 2 if kind == "doubled_day" else 1
            stream.write("".join(f"{date},{row}\n" for row in rows) * copies)
            self.rows += len(rows) * copies
        if kind == "comma_row":
            stream.write(market_files.COMMA_ROW + "\n")
            self.planted.append(Defect(kind, day.date))
        self.progress(day.position + 1, len(self.plan.days))

    def _spoil_row(self, kind: str, day: Day, fields: list[list[int]]) -> None:
        """Blank or change prices of one stock that traded and moved, in place."""
        moved = np.flatnonzero((day.volume > 0) & (day.close != day.previous) & (day.previous > 0))
        if kind not in ("no_range", "bad_range", "no_price") or not len(moved):
            return
        rng = np.random.default_rng([self.config.seed, 2, day.position])
        row = int(rng.choice(moved[moved < len(self.plan.symbols)]))
        low, high, close = fields[:3]
        if kind == "bad_range":
            low[row] = high[row] = int(on_tick(day.low[row] * 0.92))
        else:
            low[row] = high[row] = 0
        if kind == "no_price":
            close[row] = 0
        self.planted.append(Defect(kind, day.date, self.codes[row]))

    def _adjusted(self, day: Day) -> dict[int, int]:
        """Return closes adjusted for a later split, which the files up to 2022 contain."""
        if day.date.year > 2022:
            return {}
        plan = self.plan
        ahead = np.flatnonzero((plan.action_at > day.position) & (plan.action_at < self.adjusted_until))
        return {int(i): int(np.rint(day.close[i] * plan.ratio[i])) for i in ahead}

    def _note_events(self, day: Day) -> None:
        plan = self.plan
        for i in np.flatnonzero(plan.action_at == day.position):
            self.planted.append(Defect("action", day.date, plan.symbols[i], f"ratio {plan.ratio[i]:.4g}"))
        for i in np.flatnonzero((plan.suspended_from == day.position) & (plan.activity > 0)):
            length = plan.suspended_until[i] - day.position
            self.planted.append(Defect("suspension", day.date, plan.symbols[i], f"{length} sessions"))
        for i in np.flatnonzero(plan.listed_from == day.position):
            if day.position:
                self.planted.append(Defect("listing", day.date, plan.symbols[i]))


def _two_years_back(day: dt.date) -> dt.date:
    return day.replace(year=day.year - 2, day=min(day.day, 28) if day.month == 2 else day.day)
