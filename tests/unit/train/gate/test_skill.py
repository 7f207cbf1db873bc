"""The floor of skill: ratios to the last price, their noise, and what is refused."""

import math

import numpy as np
import pandas as pd
import pytest

from common.scoring.significance import ratio_noise
from train.gate.skill import FLOOR_DAYS, MOST_NOISE, by_horizon, of_intervals, of_price

DAYS, STOCKS = 60, 5
CUTOFFS = pd.bdate_range("2024-01-01", periods=DAYS)


def forecasts(
    horizon: int = 1, *, raw: float = 1.0, published: float = 1.0, days: int = DAYS, half_width: float = 30.0
) -> pd.DataFrame:
    """Forecasts whose errors are ``raw`` and ``published`` times the last price's; intervals around it."""
    rng = np.random.default_rng(horizon)
    last = rng.uniform(5, 500, days * STOCKS)
    actual = last * np.exp(rng.normal(0, 0.02, len(last)))
    table = pd.DataFrame(
        {
            "symbol": np.tile([f"S{number}" for number in range(STOCKS)], days),
            "cutoff": np.repeat(CUTOFFS[:days], STOCKS),
            "horizon": horizon,
            "last_price": last,
            "raw": actual + raw * (last - actual),
            "published": actual + published * (last - actual),
            "actual": actual,
            "frozen": False,
        }
    )
    for level, part in ((80, 0.8), (90, 0.9), (95, 1.0)):
        table[f"lo{level}"] = last * (1 - part * half_width / 100)
        table[f"hi{level}"] = last * (1 + part * half_width / 100)
    return table


def test_a_forecast_as_good_as_the_last_price_passes_and_one_a_little_worse_every_day_does_not():
    assert of_price(forecasts())[0] == []
    (problem,) = of_price(forecasts(raw=1.01))[0]
    assert problem == (
        "relRMSE of the raw price is 1.0100 1 day ahead, need at most 1.0000 (the last price is 1; 60 days)"
    )
    (problem,) = of_price(forecasts(published=1.01))[0]
    assert problem.startswith("relMAE of the published price is 1.0100 1 day ahead")


def test_outcomes_that_all_overlap_excuse_as_much_as_is_ever_excused():
    noise = {days: by_horizon(forecasts(30, raw=1.1, days=days))[0].noise("rel_rmse") for days in (6, 30, 31)}
    assert noise[30] == noise[6] == MOST_NOISE / 2 and math.isfinite(noise[31]) and noise[31] != noise[30]
    assert by_horizon(forecasts(5, raw=1.1, days=5))[0].noise("rel_rmse") == 0


def test_forecasts_of_which_some_have_no_intervals_are_refused():
    table = forecasts()
    table.loc[3, "lo80"] = np.nan
    problems, _ = of_intervals(table)
    assert problems[0] == f"1 of {DAYS * STOCKS} forecasts have no intervals"


def test_every_horizon_up_to_five_days_is_judged_and_the_shortest_where_all_are_longer():
    assert FLOOR_DAYS == 5
    table = pd.concat([forecasts(1), forecasts(4), forecasts(5, raw=1.1), forecasts(6, raw=1.2)])
    problems, figures = of_price(table)
    assert len(problems) == 1 and "5 days ahead" in problems[0]
    assert "relMAE 1.0000 at 4 days" in figures and "6 days" not in figures
    problems, _ = of_price(pd.concat([forecasts(10, raw=1.1), forecasts(30, raw=1.1)]))
    assert len(problems) == 1 and "10 days ahead" in problems[0]


def test_windows_that_stood_still_and_prices_not_known_yet_are_not_judged():
    table = forecasts(raw=1.1)
    assert of_price(table.assign(frozen=True))[0] == ["no scored forecast of a price that moved"]
    assert of_price(table.assign(actual=np.nan))[0] == ["no scored forecast of a price that moved"]


def test_noise_is_added_to_the_bound_and_no_more_than_the_limit():
    rng = np.random.default_rng(3)
    table = forecasts()
    error = table["last_price"] - table["actual"]
    daily = np.repeat(rng.normal(1.01, 0.1, DAYS), STOCKS)
    noisy = table.assign(published=table["actual"] + daily * error)
    (losses,) = by_horizon(noisy)
    assert 0.005 < losses.noise("rel_mae") < 0.03
    assert of_price(noisy)[0] == [], "within two standard errors"
    wild = table.assign(published=table["actual"] + np.repeat(rng.gamma(0.3, 4, DAYS), STOCKS) * error)
    (problem,) = of_price(wild)[0]
    assert f"need at most {1 + MOST_NOISE:.4f}" in problem


def test_too_few_days_to_tell_the_noise_excuse_nothing():
    assert len(of_price(forecasts(raw=1.001, days=5))[0]) == 1


def test_the_noise_of_a_ratio_equals_the_obvious_loop():
    rng = np.random.default_rng(7)
    dates = np.sort(rng.choice(CUTOFFS.to_numpy(), 300))
    own, rival, horizon = rng.gamma(2, 1, 300), rng.gamma(2, 1, 300), 5
    days = sorted(set(dates))
    a, b = (
        [float(sum(v for v, d in zip(values, dates, strict=True) if d == day)) for day in days]
        for values in (own, rival)
    )
    ratio = sum(a) / sum(b)
    u = [x - ratio * y for x, y in zip(a, b, strict=True)]
    n, lags = len(days), max(horizon - 1, math.floor(4 * (len(days) / 100) ** (2 / 9)))
    variance = sum(x * x for x in u) / n
    for k in range(1, lags + 1):
        variance += 2 * (1 - k / (lags + 1)) * sum(u[t] * u[t - k] for t in range(k, n)) / n
    m = lags + 1
    factor = (n + 1 - 2 * m + m * (m - 1) / n) / n
    expected = math.sqrt(variance / n) / (sum(b) / n) / math.sqrt(factor)
    assert ratio_noise(own, rival, dates, horizon=horizon) == pytest.approx(expected)


def test_the_noise_of_a_ratio_is_how_much_it_varies_from_sample_to_sample():
    rng = np.random.default_rng(11)
    ratios, noises = [], []
    for _ in range(400):
        market = rng.gamma(4, 1, (DAYS, 1))  # a day is one draw for all its stocks
        own = (market * rng.gamma(4, 1, (DAYS, 1)) * rng.gamma(9, 1, (DAYS, STOCKS))).ravel()
        rival = (market * rng.gamma(4, 1, (DAYS, 1)) * rng.gamma(9, 1, (DAYS, STOCKS))).ravel()
        ratios.append(own.sum() / rival.sum())
        noises.append(ratio_noise(own, rival, np.repeat(CUTOFFS, STOCKS), horizon=1))
    assert np.mean(noises) == pytest.approx(np.std(ratios), rel=0.15)


def test_the_noise_of_relrmse_is_that_of_its_square_by_the_delta_method():
    rng = np.random.default_rng(5)
    table = forecasts().assign(raw=lambda result: result["last_price"] * rng.normal(1, 0.02, len(result)))
    (losses,) = by_horizon(table)
    square = ratio_noise(losses.own["rel_rmse"], losses.naive["rel_rmse"], losses.cutoff, horizon=1)
    assert losses.noise("rel_rmse") == pytest.approx(square / 2 / losses.ratio("rel_rmse"))
    assert losses.noise_of_difference(losses, "rel_rmse") == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("half_width", "message"), [(0.5, "% intervals contain"), (95, "relPinball of the intervals")]
)
def test_intervals_that_hold_too_little_or_are_worth_less_than_the_last_price_are_refused(
    half_width, message
):
    assert of_intervals(forecasts(half_width=6))[0] == []
    problems, _ = of_intervals(forecasts(half_width=half_width))
    assert problems and all(message in problem and "1 day ahead" in problem for problem in problems)


def test_intervals_are_judged_at_every_horizon_and_a_model_may_have_none():
    table = pd.concat([forecasts(1, half_width=6), forecasts(30, half_width=0.5)])
    problems, figures = of_intervals(table)
    assert problems and all("30 days ahead" in problem for problem in problems)
    assert "at 1 day" in figures
    bounds = [name for name in table if name[:2] in ("lo", "hi")]
    assert of_intervals(table.assign(**dict.fromkeys(bounds, np.nan))) == ([], "the model gives no intervals")
