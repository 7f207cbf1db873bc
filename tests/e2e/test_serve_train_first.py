"""`nsecast serve` without a release announces that it trains first, and can be stopped."""

import signal
import time
from pathlib import Path

import pytest
from support.machine.processes import running
from support.serving.serve_command import ROOT, STOP_S, serve_command

from cluster.connect.ports import descendants, free_port

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_the_training_before_serving_is_announced_and_stops_with_the_command(tmp_path: Path, number):
    log = tmp_path / "log"
    command = serve_command(tmp_path / "home", port=free_port())
    with log.open("w") as out, running(command, cwd=ROOT, stdout=out, stderr=out) as process:
        deadline = time.monotonic() + 120
        while (
            "state=training" not in log.read_text() and time.monotonic() < deadline and process.poll() is None
        ):
            time.sleep(0.1)
        assert "training a quick one on the synthetic market first" in log.read_text()
        ours = descendants(process.pid)
        assert len(ours) > 2
        process.send_signal(number)
        assert process.wait(STOP_S) == 130
        while left := [pid for pid in ours if Path(f"/proc/{pid}").exists()]:
            assert time.monotonic() < deadline + 30, left
            time.sleep(0.1)
        assert (
            log.read_text().count("the same command continues") == 2
        )  # the training's word and the server's
