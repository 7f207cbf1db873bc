"""Posted sessions: production keeps them until an archive has them."""

import pandas as pd

from common.archive.flags import Flag
from common.prices.panel import Panel
from common.release.alias import History

SOURCE = "POST /api/v4/prices"
"""``source`` of the moves of production that posted prices caused."""


def with_posted(archive: Panel, before: Panel, history: History) -> tuple[Panel, tuple[str, ...]]:
    """Add to an archive's panel the posted sessions of production that it lacks.

    A session that the archive only rebuilt from the next one's previous closes counts as missing, since its
    rows became known later than the posted ones.

    Parameters
    ----------
    before : the panel of the release in production, of the same kind (real or synthetic)
    history : the moves of production, which tell what was posted

    Returns
    -------
    (Panel, tuple of str)
        The panel, and the sessions that were added, ISO dates.
    """
    posted = [move["refresh"] for move in history if move.get("source") == SOURCE and "refresh" in move]
    frame, rebuilt = archive.frame, (archive.frame["flags"] & int(Flag.REBUILT)) != 0
    missing = before.dates.difference(pd.DatetimeIndex(frame.loc[~rebuilt, "date"].unique()))
    missing = missing[
        [any(move["first"] <= f"{day:%Y-%m-%d}" <= move["last"] for move in posted) for day in missing]
    ]
    if missing.empty:
        return archive, ()
    rows = [frame[~frame["date"].isin(missing)], before.frame[before.frame["date"].isin(missing)]]
    return Panel.from_frame(pd.concat(rows), archive.source), tuple(missing.strftime("%Y-%m-%d"))
