"""The ``nsecast`` command and its verbs."""

import importlib
import io
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

try:
    import typer
    from typer.core import TyperGroup
except ModuleNotFoundError as missing:
    sys.exit(f"error: only the client is installed ({missing}). For commands: pip install 'nsecast[all]'.")

from common.errors import NsecastError

INTERRUPTED = 130
COMMANDS = {
    "train": "train.cli.train:train",
    "tune": "tune.cli:tune",
    "runs": "train.progress.runs:runs",
    "predict": "serve.cli.predict:predict",
    "card": "serve.cli.card:card",
    "backtest": "train.cli.backtest_command:backtest",
    "report": "train.cli.backtest_command:report",
    "validate": "train.cli.validate:validate",
    "refresh": "train.cli.refresh:refresh",
    "retrain": "train.cli.retrain:retrain",
    "monitor": "cluster.monitor.cli:monitor",
    "track-record": "cluster.monitor.cli:track_record",
    "receipt": "serve.cli.receipt:receipt",
    "replay": "serve.cli.receipt:replay",
    "data": "train.cli.data:app",
    "models": "train.cli.models:app",
    "serve": "serve.cli.serve:app",
    "cluster": "cluster.cli:app",
}
"""The function or app of each verb, imported at first use, since importing all takes seconds."""


class Verbs(Mapping[str, Any]):
    """The commands of ``COMMANDS`` by name."""

    def __getitem__(self, name: str) -> Any:
        module, _, attribute = COMMANDS[name].partition(":")
        verb = getattr(importlib.import_module(module), attribute)
        if isinstance(verb, typer.Typer):
            command: Any = typer.main.get_group(verb)
        else:
            single = typer.Typer(add_completion=False)
            single.command()(verb)
            command = typer.main.get_command(single)
        command.name = name
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class Command(TyperGroup):
    """The group of all verbs."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands: Any = Verbs()


app = typer.Typer(cls=Command, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def nsecast() -> None:
    """Forecasts for every stock of the Nairobi Securities Exchange."""


def _leave_out_proxy() -> None:
    """Have this machine's own addresses reached without the environment's proxy, also by child processes."""
    given = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    hosts = ",".join(filter(None, (given, "127.0.0.1", "localhost", "::1")))
    os.environ.update(no_proxy=hosts, NO_PROXY=hosts)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command; exit codes: 0 done, 1 failed, 2 usage, 130 stopped."""
    signal.signal(signal.SIGTERM, _terminate)
    _leave_out_proxy()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # where a terminal has no such letter
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
        steps = "Check the path, its permissions and the free space; --home names another storage root."
        print(f"error: {error}. {steps}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
