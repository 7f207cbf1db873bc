"""Realised accuracy of served forecasts: the latest report of `nsecast monitor`."""

import datetime as dt
from pathlib import Path

from common import storage
from serve.schemas.live import LivePage, MonitorReport

LATEST = Path("monitor") / "latest.json"
"""The latest `cluster.monitor.monitor.Report`, relative to the storage root."""
NOT_RUN = "`nsecast monitor` has not yet checked this service. Run it once a day, after the closes are in."


def live_page(home: Path) -> LivePage:
    """Read the latest report, in a thread; a missing or damaged one is explained in ``note``."""
    path = home / LATEST
    try:
        report = MonitorReport.model_validate_json(storage.up_to_date(path).read_bytes())
    except FileNotFoundError:
        return LivePage(found=None, age_s=None, note=NOT_RUN)
    except (OSError, ValueError, storage.StorageError) as error:
        name = storage.display_path(path)
        note = f"{name} cannot be read ({type(error).__name__}). Run `nsecast monitor` again."
        return LivePage(found=None, age_s=None, note=note)
    age = (dt.datetime.now(dt.UTC) - report.at).total_seconds()
    return LivePage(found=report, age_s=max(0.0, round(age, 1)), note=None)
