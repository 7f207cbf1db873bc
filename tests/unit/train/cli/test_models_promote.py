"""``nsecast models promote``: what it says of a release whose prices are older than production's."""

import json

import pytest
from support.releases.loaded_release import SETTINGS
from support.releases.release import doctored, made_release
from typer.testing import CliRunner

import nsecast
from common.prices.panel import Panel
from common.release.registry import Registry


@pytest.fixture
def home(tmp_path):
    """A storage root with ``made`` in production and ``older``, which ends ten sessions before; both ends."""
    panel = Panel.load(made_release(tmp_path, **SETTINGS).file("panel.parquet"))
    older = made_release(tmp_path, "older", **SETTINGS)
    doctored(older, lambda folder: panel.as_of(panel.dates[-11]).save(folder / "panel.parquet"))
    Registry(tmp_path).promote("made")
    return tmp_path, f"{panel.dates[-11]:%Y-%m-%d}", f"{panel.dates[-1]:%Y-%m-%d}"


def promote(home, name, *options):
    done = CliRunner().invoke(
        nsecast.app, ["models", "promote", name, "--force", "--home", str(home), *options]
    )
    assert done.exit_code == 0, done.output
    return done


def test_a_promotion_to_older_prices_is_made_and_names_both_days(home):
    root, older, newer = home
    done = promote(root, "older")
    (warning,) = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert older in warning and newer in warning and "forecasts will be of older prices" in warning
    assert Registry(root).production() == "older"
    assert "warning: " not in promote(root, "made").stderr


def test_the_json_output_has_both_days_and_the_fact(home):
    root, older, newer = home
    result = json.loads(promote(root, "older", "--json").stdout)
    assert (result["production"], result["was"], result["older_prices"]) == ("older", "made", True)
    assert (result["prices_to"], result["was_prices_to"]) == (older, newer)
    back = json.loads(promote(root, "made", "--json").stdout)
    assert back["older_prices"] is False and back["was_prices_to"] == older


def test_without_a_release_in_production_there_is_nothing_to_compare_with(tmp_path):
    made_release(tmp_path, **SETTINGS)
    result = json.loads(promote(tmp_path, "made", "--json").stdout)
    assert (result["was"], result["was_prices_to"], result["older_prices"]) == (None, None, False)
