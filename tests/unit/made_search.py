"""A small search over the made panel, for the tests of what surrounds a trial."""

from pathlib import Path
from typing import Any

from made_panel import SYMBOLS, made_panel

from common import storage
from common.data.panel import Panel
from common.data.universe import Universe
from common.model.presets import train_config
from tune.book import Book, Trial
from tune.plan import Effort, Search, plan_search
from tune.space import SearchSpace

UNIVERSE = Universe.from_symbols(SYMBOLS, specific=["MOVES", "SPLITS", "SHORT"])
SETTINGS = {
    "window": {"size": 12, "horizons": [1, 3]},
    "network": {"embedding_dim": 3, "lstm_units": [4, 4], "dense_units": 4},
    "general": {"batch_size": 16, "epoch_share": 1.0},
    "scratch": {"batch_size": 16},
    "minimum_windows": 20,
    "split": {"train_end": "2021-05-14", "valid_end": "2021-06-18"},
}
SPACE = SearchSpace.parse({"window_size": {"choices": [10, 12, 16]}})
EFFORT = Effort(trials=2, folds=2, epochs=3, windows_per_epoch=32)
PANEL = made_panel()


def planned(folder: Path, panel: Panel = PANEL, *, effort: Effort = EFFORT, **changes: Any) -> Search:
    """A search planned in a folder, which is made ready for its trials."""
    config = train_config("residual", {**SETTINGS, **changes.pop("settings", {})})
    wanted = {"space": SPACE, "home": folder, "out": folder / "search", **changes}
    search = plan_search(config, UNIVERSE, panel, effort=effort, **wanted)
    search.seen.save(search.folder / "panel.parquet")
    search.spec.save(search.folder)
    return search


def pretend(search: Search, trial: Trial, totals: list[float], state: str | None = None) -> Trial:
    """Write what a trial of the general model would have stored after these epochs; then close it."""
    epochs = search.spec.epochs
    for fold in range(len(search.spec.folds)):
        part = totals[fold * epochs : (fold + 1) * epochs]
        if part:
            history = [
                {"epoch": n, "loss": 2.0, "val_loss": total, "rel_mae": total, "total": total}
                for n, total in enumerate(part, start=1)
            ]
            path = trial.fold_dir(fold + 1) / "tasks/general/seed-0/result.json"
            storage.write_json(path, {"history": history})
    if state:
        trial.close(state)
    return trial


def book_of(search: Search) -> Book:
    return Book(search.folder)
