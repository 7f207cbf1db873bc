"""What stops the command, also where it was started with SIGINT ignored, as scripts start background jobs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.machine.processes import running

ROOT = Path(__file__).resolve().parents[2]
WAITING = """
import signal
import sys

def wait():
    print("waiting", flush=True)
    for line in sys.stdin:
        print("still waiting", flush=True)

if __name__ == "__main__":
    import nsecast
    nsecast.COMMANDS["wait"] = "waiting:wait"
    sys.argv = ["nsecast", "wait"]
    nsecast.main()
"""


@pytest.mark.parametrize(
    ("ignored", "sent", "stops"),
    [
        (False, signal.SIGINT, True),
        (False, signal.SIGTERM, True),
        (True, signal.SIGINT, False),
        (True, signal.SIGTERM, True),
    ],
    ids=["Ctrl-C", "SIGTERM", "SIGINT to a background job", "SIGTERM to a background job"],
)
def test_ctrl_c_and_sigterm_stop_it_but_a_background_job_goes_on_at_sigint(tmp_path, ignored, sent, stops):
    (tmp_path / "waiting.py").write_text(WAITING)
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with running(
        [sys.executable, str(tmp_path / "waiting.py")],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        preexec_fn=(lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if ignored else None,
        text=True,
        **pipes,
    ) as process:
        assert process.stdout.readline() == "waiting\n", process.stderr.read()
        process.send_signal(sent)
        if stops:
            _, err = process.communicate(timeout=60)
            assert process.returncode == 130 and "stopped; the same command continues." in err
            assert "Traceback" not in err
        else:
            process.stdin.write("are you there?\n")
            process.stdin.flush()
            assert process.stdout.readline() == "still waiting\n"
