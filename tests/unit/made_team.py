"""One worker of a team in a process of its own: ``python made_team.py RANK SIZE FOLDER``.

The workers meet through a file; the fit is that of `fitted`, stopped after some epochs, its state on file.
"""

import sys
import time
from pathlib import Path

from made_panel import SPEC, SYMBOLS, made_panel

from common.data.series import series_from_panel
from common.data.windows import Boundaries, make_windows
from common.model.presets import FitConfig, NetworkConfig, NetworkShape
from common.model.representation import Residual
from train.feed import FitData
from train.plan import Progress
from train.state import FitState
from train.team import ALONE, Address, Team, join

NETWORK = NetworkConfig(embedding_dim=2, lstm_units=(4, 4), dense_units=3, dropout=0.2, l2=1e-4)
SHAPE = NetworkShape(
    size=SPEC.size, channels=len(Residual.channels), days=SPEC.horizons, stock_ids=7, mixture=True
)
CONFIG = FitConfig(batch_size=17, epochs=4, windows_per_epoch=170, learning_rate=0.01, patience=4)
STOP_AFTER = 2
KEY = b"known to the team alone"


class Stopped(BaseException):
    """Not an Exception, as a signal is not."""


def data() -> FitData:
    panel = made_panel()
    days = panel.dates.to_numpy().astype("datetime64[D]")
    windows = make_windows(series_from_panel(panel, SYMBOLS), SPEC)
    train, valid, _ = Boundaries(days[90], days[120], days[-1]).parts(windows)
    ids = {symbol: number for number, symbol in enumerate(SYMBOLS, start=1)}
    return FitData(train, valid, Residual.fit(train), ids)


def fitted(folder: Path, *, name: str, team: Team = ALONE, stop_after: int = 0) -> FitState:
    """The state after a small fit, continued from the file ``name``; raises `Stopped` after that epoch."""
    from train.fit import fit
    from train.loop import loop_of

    given = data()
    loop = loop_of(SHAPE, NETWORK, CONFIG, given.representation, team)

    def on_epoch(progress: Progress) -> None:
        if progress.epoch == stop_after:
            raise Stopped

    return fit(loop, given, CONFIG, seed=3, state_path=folder / name, on_epoch=on_epoch)


def meet_in(folder: Path):
    """Tells the first worker's address by a file."""

    def meet(address: Address | None) -> Address:
        place = folder / "address"
        if address is not None:
            place.with_suffix(".new").write_text(f"{address[0]} {address[1]}")
            place.with_suffix(".new").rename(place)
        while not place.exists():
            time.sleep(0.02)
        host, port = place.read_text().split()
        return host, int(port)

    return meet


if __name__ == "__main__":
    rank, size, home = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    joined = join(rank, size, host="127.0.0.1", key=KEY, meet=meet_in(home))
    fitted(home, name=f"state-{rank}.npz", team=joined, stop_after=STOP_AFTER)
