"""The exchange's clock: its time zone, its closing time, and which day's closes can be known."""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from common.errors import UniverseError

FORMAT = "%H:%M"


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True)
class ExchangeClock:
    """Time at an exchange; the default is Nairobi's.

    Instants have a time zone, any one; days are the exchange's own. Without an instant, `now` is used.
    """

    timezone: str = "Africa/Nairobi"
    """Name in the tz database."""
    closes: dt.time = dt.time(15)
    """Local time from which the closes of a session can be known, every day the same."""
    now: Callable[[], dt.datetime] = field(default=utc_now, repr=False, compare=False)
    """Returns the current instant."""

    @cached_property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    def today(self, at: dt.datetime | None = None) -> dt.date:
        """The day at the exchange."""
        return self._local(at).date()

    def last_due(self, at: dt.datetime | None = None) -> dt.date:
        """The last day whose closes can be known: yesterday, until the exchange has closed."""
        local = self._local(at)
        return local.date() if local.time() >= self.closes else local.date() - dt.timedelta(days=1)

    def end_of(self, day: dt.date) -> dt.datetime:
        """The instant at which a day is over."""
        return dt.datetime.combine(day + dt.timedelta(days=1), dt.time(), self.zone)

    def as_dict(self) -> dict[str, str]:
        """Keys of a universe file, without those that are as in Nairobi; `from_dict` reads them back."""
        found = {"timezone": self.timezone, "closes": self.closes.strftime(FORMAT)}
        usual = {"timezone": NAIROBI.timezone, "closes": NAIROBI.closes.strftime(FORMAT)}
        return {key: value for key, value in found.items() if value != usual[key]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> Self:
        """Read ``timezone`` and ``closes``; a key that is not there is as in Nairobi.

        Parameters
        ----------
        values : may have other keys
        where : file that is named in errors

        Raises
        ------
        UniverseError
            If the zone is unknown, or the closing time is none.
        """
        name, closes = values.get("timezone", cls.timezone), values.get("closes", cls.closes.strftime(FORMAT))
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, TypeError, AttributeError, OSError):
            raise UniverseError(
                f"{where}: timezone: got {name!r}, need a name of the tz database such as "
                f'"{cls.timezone}" or "America/New_York".',
                path=where,
            ) from None
        try:
            parsed = dt.datetime.strptime(closes, FORMAT).time()
        except (ValueError, TypeError):
            parsed = dt.time()
        if parsed == dt.time():
            raise UniverseError(
                f'{where}: closes: got {closes!r}, need a local time after midnight such as "15:00".',
                path=where,
            )
        return cls(name, parsed)

    def _local(self, at: dt.datetime | None) -> dt.datetime:
        return (at or self.now()).astimezone(self.zone)


NAIROBI = ExchangeClock()
