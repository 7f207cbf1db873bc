"""`nsecast backtest` with every rival on a small market; the original design trained for it end to end."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from support.prices.panel import made_panel
from support.releases.release import DAYS, UNIVERSE, made_release
from typer.testing import CliRunner

import nsecast
from common.presets import PRESETS, train_config
from common.release.registry import Registry
from common.release.released_models import ReleasedModels
from serve.forecaster import Forecaster
from train.evaluation.backtest import backtest
from train.gate.promotion import judge
from train.pipeline.backtest_period import OURS
from train.pipeline.rivals import RIVALS, V4

pytestmark = [pytest.mark.integration, pytest.mark.long]
SESSIONS = made_panel(DAYS).dates
TINY = {
    "network": {"embedding_dim": 2, "lstm_units": [4, 4], "dense_units": 4},
    "general": {"epochs": 2, "batch_size": 64, "epoch_share": 1.0, "windows_per_epoch": 640},
    "scratch": {"epochs": 1, "batch_size": 64},
    "minimum_windows": 50,
}


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """The command's document and tables by rival; the original design is trained on the fleet, once."""
    home = tmp_path_factory.mktemp("home")
    Registry(home).promote(made_release(home).id)
    start = f"{SESSIONS[-16]:%Y-%m-%d}"
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(PRESETS, V4, train_config(V4, TINY))
        words = ["backtest", "--home", str(home), "--from", start, "--workers", "2", "--json"]
        result = CliRunner().invoke(nsecast.app, words)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    folder = Path(document["folder"])
    tables = {name: pd.read_parquet(folder / f"{name}.parquet") for name in RIVALS}
    yield SimpleNamespace(document=document, tables=tables, main=home, home=folder / V4)


@pytest.fixture(scope="module")
def original(comparison: SimpleNamespace) -> ReleasedModels:
    """The release of the original design."""
    return ReleasedModels(Registry(comparison.home).open("latest"))


def figures(comparison: SimpleNamespace) -> pd.DataFrame:
    return pd.DataFrame(comparison.document["figures"]).set_index(["model", "horizon"])


def test_every_rival_forecasts_every_window_of_the_period_in_finite_prices(comparison):
    assert set(comparison.tables) == {"naive", "drift", "arima", "ets", "theta", "lightgbm", "v4_log"}
    expected = comparison.tables["naive"][["symbol", "cutoff", "horizon"]]
    assert set(expected["horizon"]) == {1, 3, 7} and expected["cutoff"].nunique() == 16
    for name, table in comparison.tables.items():
        prices = table[["last_price", "raw", "published"]].to_numpy(float)
        assert np.isfinite(prices).all() and (prices > 0).all(), name
        if name != V4:
            pd.testing.assert_frame_equal(table[["symbol", "cutoff", "horizon"]], expected)
    v4 = comparison.tables[V4]
    assert set(v4["horizon"]) == {1} and set(v4["cutoff"]) == set(expected["cutoff"])


def test_every_figure_of_every_rival_follows_from_its_forecasts(comparison):
    text = figures(comparison)
    assert set(text.index.get_level_values("model")) == {OURS, *RIVALS}
    for name, table in comparison.tables.items():
        scored = table[table["actual"].notna() & ~table["frozen"]]
        for horizon, rows in scored.groupby("horizon"):
            last, actual = rows["last_price"].to_numpy(), rows["actual"].to_numpy()
            absolute = [np.abs(rows[key].to_numpy() - actual) / last for key in ("published", "last_price")]
            square = [((rows[key].to_numpy() - actual) / last) ** 2 for key in ("raw", "last_price")]
            row = text.loc[(name, horizon)]
            assert row["n"] == len(rows) > 0
            assert row["mae"] == pytest.approx(np.abs(rows["published"] - actual).mean())
            percent = 100 * np.abs(rows["published"] - actual) / actual
            assert row["mape"] == pytest.approx(percent.mean())
            assert row["rel_mae"] == pytest.approx(absolute[0].sum() / absolute[1].sum())
            assert row["rel_rmse"] == pytest.approx(np.sqrt(square[0].sum() / square[1].sum()))
            assert np.isfinite(
                row[["mae", "rmse", "mape", "rel_mae", "rel_rmse", "bias"]].astype(float)
            ).all()


def test_the_ratio_of_naive_to_itself_is_exactly_one(comparison):
    naive = figures(comparison).loc["naive"]
    assert naive["rel_mae"].tolist() == naive["rel_rmse"].tolist() == [1.0, 1.0, 1.0]
    table = comparison.tables["naive"]
    assert (table["published"] == table["last_price"]).all() and (table["raw"] == table["last_price"]).all()
    assert table[["lo90", "hi90"]].notna().all(axis=None), "with intervals of its own"


def test_no_two_rivals_are_the_same_and_only_naive_and_ours_have_intervals(comparison):
    near = {
        name: table[table["horizon"] == 1].set_index(["symbol", "cutoff"])
        for name, table in comparison.tables.items()
    }
    moving = near["naive"].index[~near["naive"]["frozen"]].intersection(near[V4].index)
    raws = {name: tuple(table.loc[moving, "raw"]) for name, table in near.items()}
    assert len(set(raws.values())) == len(RIVALS)
    covered = figures(comparison)["cover90"].dropna().index.get_level_values("model")
    assert set(covered) == {OURS, "naive"}


def test_the_original_design_is_trained_with_its_own_window_on_the_split_of_the_release(comparison, original):
    info = original.release.info
    assert info["preset"] == V4 and set(info["jobs"]) == {"general", "MOVES"} and not info["failed"]
    assert original.models.window.size == 60 and original.models.window.horizons == (1,)
    theirs = Registry(comparison.main).resolve("production").info
    assert [info[name] for name in ("train_end", "valid_end")] == [
        theirs[name] for name in ("train_end", "valid_end")
    ]
    for job in info["jobs"]:
        name = "general_v4_log" if job == "general" else f"stock_specific_v4_log/{job}"
        assert f"{name}/model.onnx" in original.release.files


def test_the_original_design_is_published_but_not_promoted_by_itself(comparison, original):
    assert Registry(comparison.home).production() is None
    (skill,) = [
        check
        for check in judge(Registry(comparison.home), original.release.id).checks
        if check.name == "skill"
    ]
    assert not skill.passed and "1 day ahead" in skill.found


def test_forecasts_served_by_the_original_design_equal_its_backtest_to_the_last_digit(comparison, original):
    panel = original.panel
    start, end = (day.to_numpy().astype("datetime64[D]") for day in (SESSIONS[-16], SESSIONS[-1]))
    table = backtest(original.models, panel, original.calibration, start=start, end=end).table
    table = table.set_index(["symbol", "cutoff"])
    server = Forecaster.from_release(original.release.id, comparison.home)
    served = 0
    for day in (SESSIONS[-16], SESSIONS[-8], SESSIONS[-1]):
        answers = server.predict(as_of=f"{day:%Y-%m-%d}")
        for answer in answers[answers["last_date"] == day].to_dict(orient="records"):
            row = table.loc[(answer["symbol"], day)]
            assert answer["prediction"] == row["published"] and answer["last_price"] == row["last_price"]
            assert answer["mean_prediction"] == row["raw"] and np.isnan(answer["lower90"])
            (direct,) = original.forecast(answer["symbol"], as_of=day.date())
            assert (direct.raw, direct.published) == (row["raw"], row["published"])
            served += 1
    assert served >= 3 * (len(UNIVERSE.symbols) - 2)


def test_the_rivals_table_shows_the_price_of_the_original_design_where_it_is_not_trusted(
    comparison, original
):
    shown = comparison.tables[V4]
    moving = shown[~shown["frozen"]]
    assert (moving["source"] == "model").all()
    assert np.allclose(moving["published"], moving["raw"], rtol=0.02), "its own price, rounded to the tick"
