"""Clock of an exchange: its time zone, its closing time, and the last day whose closes can be known."""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from common.errors import UniverseError

TIME_FORMAT = "%H:%M"


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True)
class ExchangeClock:
    """Time at an exchange; the default is Nairobi's.

    Instants (``at``) are in any time zone and default to `now`; days are those at the exchange.
    """

    timezone: str = "Africa/Nairobi"
    """Name in the tz database."""
    closes: dt.time = dt.time(15)
    """Local time from which the closes of a session can be known."""
    now: Callable[[], dt.datetime] = field(default=utc_now, repr=False, compare=False)
    """Returns the current instant."""

    @cached_property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    def today(self, at: dt.datetime | None = None) -> dt.date:
        """Return the day at the exchange."""
        return self._local(at).date()

    def last_due(self, at: dt.datetime | None = None) -> dt.date:
        """Return the last day whose closes can be known: yesterday until the exchange has closed."""
        local = self._local(at)
        return local.date() if local.time() >= self.closes else local.date() - dt.timedelta(days=1)

    def end_of(self, day: dt.date) -> dt.datetime:
        """Return the instant at which a day ends."""
        return dt.datetime.combine(day + dt.timedelta(days=1), dt.time(), self.zone)

    def as_dict(self) -> dict[str, str]:
        """Return the keys of a universe file that differ from Nairobi's; `from_dict` reads them."""
        zone = {} if self.timezone == NAIROBI_CLOCK.timezone else {"timezone": self.timezone}
        same = self.closes == NAIROBI_CLOCK.closes
        return zone if same else {**zone, "closes": self.closes.strftime(TIME_FORMAT)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> Self:
        """Read ``timezone`` and ``closes``, by default Nairobi's; other keys are ignored.

        Raises
        ------
        UniverseError
            If the time zone is unknown or the closing time is invalid; names the file ``where``.
        """
        name = values.get("timezone", cls.timezone)
        closes = values.get("closes", cls.closes.strftime(TIME_FORMAT))
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, TypeError, AttributeError, OSError):
            raise UniverseError(
                f"{where}: timezone: got {name!r}, need a name of the tz database such as "
                f'"{cls.timezone}" or "America/New_York".',
                path=where,
            ) from None
        try:
            parsed = dt.datetime.strptime(closes, TIME_FORMAT).time()
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


NAIROBI_CLOCK = ExchangeClock()
