"""The notebook runs from top to bottom over a release, and is committed without outputs."""

from pathlib import Path

import pytest
from support.releases.loaded_release import SETTINGS
from support.releases.release import made_release

from common.release.registry import Registry

nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: pip install nbclient ipykernel")
nbformat = pytest.importorskip("nbformat")
ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "docs" / "notebooks" / "first_look.ipynb"


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The cells after a run over a small release, which has MOVES instead of SCOM."""
    home = tmp_path_factory.mktemp("home")
    made_release(home, **SETTINGS)
    Registry(home).promote("made")
    text = NOTEBOOK.read_text()
    assert text.count("SCOM") == 1
    notebook = nbformat.reads(text.replace("SCOM", "MOVES"), as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NSECAST_HOME", str(home))
        patch.setenv("PYTHONPATH", str(ROOT))
        nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    return notebook


def results(notebook) -> list[str]:
    """The text of every output."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return [
        output["text"] if "text" in output else output["data"].get("text/plain", "") for output in outputs
    ]


def test_the_notebook_shows_forecast_fan_chart_calibration_and_own_prices(executed):
    texts = results(executed)
    assert not any(
        output.get("name") == "stderr" for cell in executed.cells for output in cell.get("outputs", ())
    )
    assert "SYNTHETIC DATA" in texts[0] and "probability_up" in texts[1]
    figures = [
        output["data"]["application/vnd.plotly.v1+json"]
        for cell in executed.cells
        for output in cell.get("outputs", ())
        if "application/vnd.plotly.v1+json" in output.get("data", {})
    ]
    assert [len(figure["data"]) for figure in figures] == [8]
    assert any("90 %" in text and "horizon" in text for text in texts)
    assert any("naive_mae" in text for text in texts) and "MYSTOCK" in texts[-1]


def test_the_notebook_is_committed_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)
