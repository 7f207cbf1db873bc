"""What crosses from one machine to another by name: storage roots, jobs, checks, backtests, searches."""

import numpy as np
import pytest
from support.releases.release import made_release
from support.storage.store import objects

from cluster.connect.jobs import job_command
from cluster.connect.match import describe_process
from common import storage
from common.release.registry import Registry
from common.release.released_models import ReleasedModels
from serve.settings import ServeSettings
from serve.views.accuracy import LATEST, live_page
from train.evaluation.embedding_search import find_search
from train.evaluation.evidence import load_evidence
from train.pipeline.backtest_period import OURS, plan_backtest, run_backtest, store_backtest, summarise_models

pytestmark = pytest.mark.usefixtures("no_mirrors")


@pytest.fixture
def url(tmp_path, monkeypatch) -> str:
    monkeypatch.setenv("NSECAST_CACHE", str(tmp_path / "cache"))
    return "s3://bucket/prefix"


def test_a_server_gets_its_storage_root_and_keys_by_names_valid_on_every_node(url, tmp_path):
    home = storage.home(url)
    chosen = ServeSettings(home=str(home), keys=str(home / "serve" / "keys.json")).resolved()
    assert (chosen.home, chosen.keys) == (url, f"{url}#serve/keys.json")
    assert ServeSettings(home=url).resolved().home == url
    plain = ServeSettings(home=str(tmp_path), keys=str(tmp_path / "keys.json")).resolved()
    assert (plain.home, plain.keys) == (str(tmp_path), str(tmp_path / "keys.json"))


@pytest.mark.parametrize("given", [["--home", "s3://bucket/prefix"], ["--home=s3://bucket/prefix"]])
def test_a_job_takes_a_url_as_it_is_and_a_folder_in_full(url, given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = job_command(["retrain", *given, "--archive", "nse"])
    assert url in " ".join(command) and command[-1] == str(tmp_path / "nse")


def test_a_node_says_whether_it_sees_the_drivers_objects(two_machines):
    here, there = two_machines
    storage.write_bytes(here / "probe-1", b"text")
    assert describe_process((str(there / "probe-1"), "text"), ())["storage"] == "ok"
    assert describe_process((str(there / "probe-1"), "another"), ())["storage"] == "sees another folder as"
    assert describe_process((str(there / "probe-2"), "text"), ())["storage"] == "cannot see the storage root"


def test_a_backtest_on_another_machine_keeps_earlier_results(two_machines):
    here = two_machines[0]
    made_release(here, "one")
    name = "backtest.json"
    for number, home in enumerate(two_machines):
        models = ReleasedModels(Registry(home).open("one"))
        study = plan_backtest(models, None, home)
        table = run_backtest(study).table
        rival = table.assign(published=table["last_price"])
        store_backtest(study, table, summarise_models({OURS: table, f"rival-{number}": rival}, study))
        assert storage.exists(study.folder / name)
    evidence = load_evidence(ReleasedModels(Registry(here).open("one")), here)
    assert set(evidence.rivals["model"]) == {OURS, "rival-0", "rival-1"}
    assert [key for key in objects(here) if key.endswith(name)] and np.isfinite(evidence.rivals["n"]).all()


def test_a_search_from_another_machine_is_available(two_machines):
    here, there = two_machines
    embedding = {
        "default": 2,
        "sufficient": True,
        "because": "so it is.",
        "sizes": [{"size": 2, "difference": 0.0}],
    }
    result = {
        "id": "s",
        "made": "2026-01-01",
        "model": "general",
        "preset": "residual",
        "source": "synthetic",
        "data_sha256": "x",
        "quick": False,
        "embedding": embedding,
        "folds": [{"valid_end": "2025-01-01"}],
    }
    storage.write_json(here / "tuning/s/result.json", result)
    info = {"preset": "residual", "source": "synthetic", "data_sha256": "x"}
    assert find_search(there, info, 2)["search"] == "s"


def test_the_page_shows_the_monitor_report_of_another_machine(two_machines):
    here, there = two_machines
    assert live_page(there).found is None
    storage.write_bytes(here / LATEST, b"{}")
    assert "s3://memory/home/monitor/latest.json cannot be read" in live_page(there).note
