"""The ``nsecast`` command: composes the verbs of every part."""

import signal
import sys
from types import FrameType

import typer

from cluster.chaos.cli import chaos
from cluster.cli import app as cluster
from cluster.monitor_cli import monitor
from cluster.nightly_cli import retrain
from cluster.track_record_cli import track_record
from common.errors import NsecastError
from serve.card_cli import card
from serve.predict_cli import predict
from serve.receipt_cli import receipt, replay
from serve.serve_cli import app as serve
from train.cli import train
from train.data_cli import app as data
from train.evaluation.cli import backtest, report
from train.gate.validate_cli import validate
from train.models_cli import app as models
from train.runs import runs
from tune.cli import tune

INTERRUPTED = 130

app = typer.Typer(
    help="Forecasts for every counter of the Nairobi Securities Exchange.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("train")(train)
app.command("tune")(tune)
app.command("runs")(runs)
app.command("predict")(predict)
app.command("card")(card)
app.command("backtest")(backtest)
app.command("report")(report)
app.command("validate")(validate)
app.command("retrain")(retrain)
app.command("monitor")(monitor)
app.command("track-record")(track_record)
app.command("receipt")(receipt)
app.command("replay")(replay)
app.command("chaos")(chaos)
app.add_typer(data, name="data")
app.add_typer(models, name="models")
app.add_typer(serve, name="serve")
app.add_typer(cluster, name="cluster")


def _terminate(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Exit codes: 0 done, 1 failed, 2 usage, 130 stopped."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app()
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            print("stopped; the same command continues.", file=sys.stderr)
        raise
    except NsecastError as error:
        print(f"error: {error.message}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        print(f"error: {error}. Check the path, its permissions and the room on the disk.", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
