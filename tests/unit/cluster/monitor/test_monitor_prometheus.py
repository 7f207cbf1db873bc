"""The report as gauges: what a collector reads back."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.training.evidence import UNIVERSE, forecasts
from support.training.freshness import made_freshness

from cluster.monitor.drift import Drift
from cluster.monitor.monitor import Report
from cluster.monitor.prometheus import GAUGES, write_prometheus
from cluster.monitor.served_errors import judge
from cluster.monitor.settings import MonitorSettings
from common.errors import ConfigError
from serve.schemas.live import LimitBreach

NOW = dt.datetime(2024, 6, 3, 15, tzinfo=dt.UTC)
FRESH = made_freshness(dt.date(2024, 5, 31), dt.date(2024, 6, 3))


@pytest.fixture(scope="module")
def report():
    tiers = {stock.symbol: stock.tier for stock in UNIVERSE.stocks}
    live = forecasts().assign(tier=lambda rows: rows["symbol"].map(tiers))
    live.loc[live["symbol"] == "ALFA", ["lo90", "hi90"]] = np.nan
    return Report(
        at=NOW,
        release="r",
        synthetic=False,
        served=500,
        scored=480,
        waiting=15,
        left_out={"late": 5},
        damaged=(),
        errors=judge(live, forecasts(), MonitorSettings()),
        drift=[Drift(feature="input:return", psi=0.3, chance=0.2, n=100, reference_n=900, word="large")],
        fresh=FRESH,
        breaches=[LimitBreach(kind="drift", what="input:return", got=0.3, limit=0.25)],
    )


def read_back(path):
    families = list(text_string_to_metric_families(path.read_text()))
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }
    return {family.name for family in families}, samples


def test_every_documented_gauge_is_there_with_the_reports_value(report, tmp_path):
    path = tmp_path / "made" / "nsecast.prom"
    write_prometheus(report, path)
    names, samples = read_back(path)
    assert names == {f"nsecast_monitor_{name}" for name in GAUGES}

    def value(name, **labels):
        return samples[(f"nsecast_monitor_{name}", tuple(sorted(labels.items())))]

    row = report.errors.query("level == 'stock' and group == 'BETA' and horizon == 1").iloc[0]
    group = {"level": "stock", "group": "BETA", "horizon": "1d"}
    assert value("mae_kes", **group, source="live") == row["mae"]
    assert value("rel_mae", **group, source="backtest") == row["backtest_rel_mae"]
    assert value("coverage90", **group, source="low") == row["cover90_low"]
    assert value("forecasts", state="scored") == 480 and value("forecasts", state="late") == 5
    assert value("psi", feature="input:return") == 0.3
    assert value("breaches", kind="drift") == 1 and value("breaches", kind="error") == 0
    assert value("last_run_timestamp_seconds") == NOW.timestamp()
    assert value("sessions_old") == 1 and value("frozen_share", when="release") == 0.2


def test_undefined_figures_are_omitted(report, tmp_path):
    write_prometheus(report, tmp_path / "x.prom")
    _, samples = read_back(tmp_path / "x.prom")
    group = {"level": "stock", "group": "ALFA", "horizon": "1d", "source": "live"}
    assert ("nsecast_monitor_coverage90", tuple(sorted(group.items()))) not in samples
    assert not any(pd.isna(value) for value in samples.values())


def test_the_file_is_replaced_atomically_and_leaves_no_temporary_file(report, tmp_path):
    for _ in range(2):
        write_prometheus(report, tmp_path / "x.prom")
    assert [path.name for path in tmp_path.iterdir()] == ["x.prom"]


def test_a_name_that_the_collector_would_not_read_is_refused(report, tmp_path):
    with pytest.raises(ConfigError, match=r"\.prom"):
        write_prometheus(report, tmp_path / "x.txt")


def test_the_report_is_plain_json_without_nan(report):
    import json

    payload = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert payload["fresh"]["data_end"] == "2024-05-31" and payload["breaches"][0]["kind"] == "drift"
    assert len(payload["errors"]) == len(report.errors) and payload["at"] == NOW.isoformat()
