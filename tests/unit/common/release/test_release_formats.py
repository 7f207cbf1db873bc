"""Releases of other versions of nsecast: earlier formats are used, later ones refused with a reason."""

import json
import shutil
from pathlib import Path

import httpx
import joblib
import pandas as pd
import pytest
from support.releases.loaded_release import SETTINGS
from support.releases.release import doctored, made_release
from support.serving.server import serving
from typer.testing import CliRunner

import nsecast
from common.errors import BundleError
from common.release.manifest import FORMAT, MANIFEST, _digest
from common.release.registry import Registry
from common.release.released_models import MODEL_CARD, ReleasedModels
from serve.views.insights import FILE, OLDER, WORTH


def rewritten(folder: Path, **changes: object) -> None:
    """Rewrite the manifest for the existing files, as another version of nsecast would."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    manifest["files"] = {name: entry for name, entry in manifest["files"].items() if (folder / name).exists()}
    manifest = {key: value for key, value in (manifest | changes).items() if value is not None}
    (folder / MANIFEST).unlink()
    (folder / MANIFEST).write_text(json.dumps(manifest | {"digest": _digest(manifest)}))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``earlier`` has no format in its manifest, no insights, worth or card; ``now`` is unchanged."""
    home = tmp_path_factory.mktemp("home")
    made_release(home, "now", **SETTINGS)
    earlier = made_release(home, "earlier", **SETTINGS).path
    for name in (FILE, WORTH, MODEL_CARD):
        (earlier / name).unlink()
    rewritten(earlier, format=None)
    Registry(home).promote("earlier")
    return home


def manifest_of(home: Path, release: str) -> dict:
    return json.loads((home / "releases" / release / MANIFEST).read_bytes())


def test_an_earlier_release_is_valid_and_forecasts_as_the_same_release_does_now(home):
    assert "format" not in manifest_of(home, "earlier") and manifest_of(home, "now")["format"] == FORMAT == 1
    registry = Registry(home)
    assert registry.verify("earlier").id == "earlier" and registry.production() == "earlier"
    for symbol in ("MOVES", "THIN", "FROZEN"):
        found, wanted = (ReleasedModels(registry.open(name)).forecast(symbol) for name in ("earlier", "now"))
        assert [(each.published, each.raw, each.intervals) for each in found] == [
            (each.published, each.raw, each.intervals) for each in wanted
        ]


def without_factors_and_groups(folder: Path) -> None:
    """Rewrite bundles and calibration as they were before factors and groups: a verdict, levels for all."""
    for path in folder.rglob("metadata.json"):
        metadata = json.loads(path.read_bytes())
        metadata.pop("factors", None)
        verdicts = dict.fromkeys(metadata["beats_naive"], True) | {"THIN": False}
        path.write_text(json.dumps(metadata | {"beats_naive": verdicts}))
    path = folder / "calibration.json"
    stored = json.loads(path.read_bytes())
    levels = stored.pop("asked_by_group")
    del stored["groups"]
    path.write_text(json.dumps(stored | {"asked": [groups[0] for groups in levels]}))


def test_a_release_without_factors_and_groups_is_served_by_its_verdicts_and_one_level_for_all(tmp_path):
    release = doctored(made_release(tmp_path, "before", **SETTINGS), without_factors_and_groups)
    models = ReleasedModels(release)
    assert models.bundle("general").forecaster.factors is None and len(models.calibration.groups) == 1
    asked = json.loads(release.file("calibration.json").read_bytes())["asked"]
    assert models.calibration.levels[:, 0].tolist() == asked
    thin, moving = models.forecast("THIN"), models.forecast("MOVES")
    assert {each.source for each in thin} == {"last_price"}
    assert all(each.published == each.last_price for each in thin)
    assert {each.source for each in moving} == {"model"}


def test_factors_of_other_horizons_are_refused_with_the_file_they_stand_in(tmp_path):
    def fewer(folder: Path) -> None:
        for path in folder.rglob("general_*/metadata.json"):
            metadata = json.loads(path.read_bytes())
            factors = {name: metadata["factors"][name][:1] for name in ("horizons", "published", "raw")}
            path.write_text(json.dumps(metadata | {"factors": factors}))

    models = ReleasedModels(doctored(made_release(tmp_path, "other", **SETTINGS), fewer))
    with pytest.raises(BundleError, match=r"metadata\.json.*factors of horizons"):
        models.bundle("general")


def test_a_joblib_file_contains_the_plain_values_of_the_json_file_and_no_class_of_nsecast(home):
    folder = home / "releases" / "now" / "general_residual"
    assert b"common." not in (folder / "scalers.joblib").read_bytes()
    assert joblib.load(folder / "scalers.joblib") == json.loads((folder / "scalers.json").read_bytes())


def test_an_earlier_release_is_served_with_a_note_on_what_it_lacks(home):
    truth = ReleasedModels(Registry(home).open("now")).forecast("MOVES")[0]
    with serving(home) as url:
        answer = httpx.post(f"{url}/api/v4/predict", json={"symbol": "MOVES"}, timeout=60).json()
        insights = httpx.get(f"{url}/api/v4/insights", timeout=60)
        card = httpx.get(f"{url}/api/v4/models/card", timeout=60)
    assert answer["release"] == "earlier" and answer["prediction"] == truth.published
    assert insights.status_code == 200 and insights.json()["note"] == OLDER
    assert insights.json()["worth"] is None
    assert card.status_code == 404 and card.headers["content-type"] == "application/problem+json"
    assert card.json()["type"] == "urn:nsecast:card-not-found" and "nsecast report" in card.json()["detail"]
    done = CliRunner().invoke(nsecast.app, ["models", "card", "earlier", "--home", str(home)])
    assert done.exit_code == 1 and "the next `nsecast train` writes one" in done.output.lower()


def test_the_backtest_of_an_earlier_release_equals_that_of_the_same_release_now(home, tmp_path):
    tables = []
    for name in ("earlier", "now"):
        out = tmp_path / f"{name}.parquet"
        words = [
            "backtest",
            "--home",
            str(home),
            "--release",
            name,
            "--baselines",
            "naive",
            "--out",
            str(out),
        ]
        done = CliRunner().invoke(nsecast.app, words)
        assert done.exit_code == 0, done.output
        tables.append(pd.read_parquet(out))
    assert len(tables[0]) > 100
    pd.testing.assert_frame_equal(*tables)


def test_a_release_of_a_later_format_is_refused_with_the_next_step(home, tmp_path):
    shutil.copytree(home, tmp_path / "home")
    registry = Registry(tmp_path / "home")
    rewritten(tmp_path / "home" / "releases" / "now", format=FORMAT + 1)
    wanted = rf"release now: manifest\.json: got format {FORMAT + 1}, .* up to {FORMAT}\. .*update this one"
    with pytest.raises(BundleError, match=wanted):
        registry.open("now")
    with pytest.raises(BundleError, match=wanted):
        registry.promote("now")
    (listed,) = [each for each in registry.releases() if each.id == "now"]
    assert listed.state == "damaged" and "update this one" in listed.reason
    assert registry.production() == "earlier"
    words = ["predict", "MOVES", "--home", str(tmp_path / "home"), "--release", "now"]
    done = CliRunner().invoke(nsecast.app, words)
    assert done.exit_code == 1 and "update this one" in str(done.exception)


@pytest.mark.parametrize("written", ["1", 0, -1, 1.5, []])
def test_a_format_that_is_not_a_positive_integer_makes_the_manifest_invalid(home, tmp_path, written):
    shutil.copytree(home / "releases" / "now", tmp_path / "releases" / "now")
    rewritten(tmp_path / "releases" / "now", format=written)
    with pytest.raises(BundleError, match="an invalid manifest"):
        Registry(tmp_path).open("now")
