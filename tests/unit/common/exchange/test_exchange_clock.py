"""One clock for an exchange: its days, its closing time, and how old prices are by it."""

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest
from support.releases.loaded_release import loaded_release

from common.errors import UniverseError
from common.exchange.calendar import Sessions
from common.exchange.clock import NAIROBI_CLOCK, ExchangeClock
from common.exchange.universe import Universe, load_universe
from serve.card.card import make_card
from serve.card.text import card_text
from serve.forecaster import Forecaster
from serve.inference.loaded_release import LoadedRelease
from serve.schemas.forecast import PredictRequest

NEW_YORK = ExchangeClock("America/New_York", dt.time(16))
UNIVERSE = 'specific = []\n[sectors.x]\nA = "Ay"\n'
EASTER = np.array(["2022-04-11", "2022-04-12", "2022-04-13", "2022-04-14"], "datetime64[D]")
"""Sessions up to the Thursday before Easter."""


def instant(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("clock", "at", "due"),
    [
        (NAIROBI_CLOCK, "2021-08-02T14:59+03:00", "2021-08-01"),
        (NAIROBI_CLOCK, "2021-08-02T15:00+03:00", "2021-08-02"),
        (NAIROBI_CLOCK, "2021-08-03T00:30+03:00", "2021-08-02"),
        (NAIROBI_CLOCK, "2021-08-02T12:00+00:00", "2021-08-02"),
        # New York put its clocks forward on 2024-03-10: it closes at 21:00 UTC before, at 20:00 UTC after.
        (NEW_YORK, "2024-03-08T20:59+00:00", "2024-03-07"),
        (NEW_YORK, "2024-03-08T21:00+00:00", "2024-03-08"),
        (NEW_YORK, "2024-03-11T19:59+00:00", "2024-03-10"),
        (NEW_YORK, "2024-03-11T20:00+00:00", "2024-03-11"),
        # And back on 2024-11-03.
        (NEW_YORK, "2024-11-01T20:00+00:00", "2024-11-01"),
        (NEW_YORK, "2024-11-04T20:59+00:00", "2024-11-03"),
        (NEW_YORK, "2024-11-04T21:00+00:00", "2024-11-04"),
    ],
)
def test_a_close_is_due_once_the_exchange_has_closed(clock, at, due):
    assert clock.last_due(instant(at)) == dt.date.fromisoformat(due)
    assert replace(clock, now=lambda: instant(at)).last_due() == dt.date.fromisoformat(due)


def test_a_day_is_the_exchanges_own():
    at = instant("2024-01-01T21:30+00:00")
    assert NAIROBI_CLOCK.today(at) == dt.date(2024, 1, 2) and NEW_YORK.today(at) == dt.date(2024, 1, 1)
    assert NAIROBI_CLOCK.end_of(dt.date(2024, 1, 1)) == instant("2024-01-02T00:00+03:00")
    assert NEW_YORK.end_of(dt.date(2024, 3, 10)) == instant("2024-03-11T00:00-04:00")


def test_the_clock_of_a_universe_file_travels_with_it_and_nairobis_is_not_spelt_out(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(f'timezone = "America/New_York"\ncloses = "16:00"\n{UNIVERSE}')
    universe = load_universe(path)
    assert universe.clock == NEW_YORK
    saved = universe.as_dict()
    assert (saved["timezone"], saved["closes"]) == ("America/New_York", "16:00")
    assert Universe.from_dict(saved) == universe
    path.write_text(f'timezone = "Africa/Nairobi"\ncloses = "15:00"\n{UNIVERSE}')
    stated = load_universe(path)
    path.write_text(UNIVERSE)
    assert stated == load_universe(path) and stated.as_dict().keys() == {"stocks"}
    assert load_universe().clock == NAIROBI_CLOCK and load_universe().as_dict().keys() == {"stocks"}


def test_a_universe_that_was_saved_without_a_clock_is_on_nairobis():
    saved = {"stocks": Universe.from_symbols(["A"]).as_dict()["stocks"], "country": "JO"}
    assert Universe.from_dict(saved).clock == NAIROBI_CLOCK


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('timezone = "Africa/Nairobbery"', "timezone: got 'Africa/Nairobbery'"),
        ('timezone = "EAT+3"', "timezone: got 'EAT\\+3'"),
        ('timezone = ""', "timezone: got ''"),
        ('timezone = "../../etc/passwd"', "timezone: got"),
        ("timezone = 3", "timezone: got 3"),
        ('closes = "25:00"', "closes: got '25:00'"),
        ('closes = "3 pm"', "closes: got '3 pm'"),
        ('closes = "00:00"', "closes: got '00:00'"),
        ("closes = 15", "closes: got 15"),
        ("closes = 15:00:00", "closes: got datetime.time"),
    ],
)
def test_a_clock_that_is_none_is_named_with_its_file_and_key(tmp_path, line, complaint):
    path = tmp_path / "my.toml"
    path.write_text(f"{line}\n{UNIVERSE}")
    with pytest.raises(UniverseError, match=rf"my\.toml: {complaint}"):
        load_universe(path)


def old_data_message(
    at: str, *, sessions: np.ndarray | None = None, clock: ExchangeClock = NAIROBI_CLOCK
) -> str | None:
    """What a forecast says of the age of the release's prices at an instant."""
    loaded = LoadedRelease(loaded_release().release)
    loaded.clock = replace(clock, now=lambda: instant(at))
    if sessions is not None:
        loaded.history.sessions = Sessions(sessions)
    prepared = loaded.prepare(PredictRequest(symbol="MOVES"))
    return next((caveat.message for caveat in prepared.caveats if caveat.code == "old_data"), None)


@pytest.mark.parametrize(
    "at",
    [
        "2022-04-14T18:00+03:00",  # the evening of the last session
        "2022-04-15T18:00+03:00",  # Good Friday
        "2022-04-17T23:00+03:00",  # Sunday
        "2022-04-18T18:00+03:00",  # Easter Monday
        "2022-04-19T09:30+03:00",  # the first session after it has begun
        "2022-04-19T14:59+03:00",
    ],
)
def test_prices_up_to_the_last_session_that_has_closed_are_not_old(at):
    assert old_data_message(at, sessions=EASTER) is None


@pytest.mark.parametrize(
    ("at", "closed"),
    [
        ("2022-04-19T15:00+03:00", "1 session has closed since then"),
        ("2022-04-20T14:00+03:00", "1 session has closed since then"),
        ("2022-04-20T15:00+03:00", "2 sessions have closed since then"),
    ],
)
def test_prices_are_old_by_the_sessions_that_have_closed_since(at, closed):
    assert old_data_message(at, sessions=EASTER) == f"The release's prices end on 2022-04-14; {closed}."


def test_prices_of_another_exchange_are_old_by_its_own_clock():
    """On Tuesday at 22:00 in Nairobi, New York is still trading."""
    at = "2022-04-19T22:00+03:00"
    assert old_data_message(at, sessions=EASTER, clock=NEW_YORK) is None
    assert old_data_message(at, sessions=EASTER) == (
        "The release's prices end on 2022-04-14; 1 session has closed since then."
    )
    assert old_data_message("2022-04-19T16:00-04:00", sessions=EASTER, clock=NEW_YORK) is not None


def test_the_card_counts_the_same_sessions_and_uses_the_singular():
    forecaster = Forecaster(loaded_release().release)
    loaded = forecaster.loaded
    end = loaded.data_end  # a Friday
    assert end.strftime("%a") == "Fri"

    def lines(at: dt.datetime, language: str) -> list[str]:
        loaded.clock = replace(NAIROBI_CLOCK, now=lambda: at)
        text = card_text(make_card(forecaster, "MOVES"), language)
        return [line for line in text.splitlines() if "since then" in line or "tangu hapo" in line]

    monday = dt.datetime.combine(end + dt.timedelta(3), dt.time(10), NAIROBI_CLOCK.zone)
    assert lines(monday, "en") == lines(monday, "sw") == []
    (evening,) = lines(monday.replace(hour=15), "en")
    assert evening.endswith("; 1 trading day has passed since then.")
    (evening,) = lines(monday.replace(hour=15), "sw")
    assert evening.endswith("; tangu hapo siku 1 ya soko imepita.")
    (later,) = lines(monday.replace(hour=15) + dt.timedelta(1), "en")
    assert later.endswith("; 2 trading days have passed since then.")
