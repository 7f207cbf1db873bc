"""Logs of a router: what they hold, and that neither requests nor the disk suffer from them."""

import builtins
import json
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.serving.server import Client

from serve.deployments.router import http_service
from serve.model_client.client import ModelClient
from serve.observability import log_files, metrics
from serve.observability.log_files import BoundedFile, close_logs, configure_log, open_access_log
from serve.observability.metrics import Facts, Observer
from serve.settings import ServeSettings


@pytest.fixture(autouse=True)
def closed():
    yield
    close_logs()


def written(folder: Path) -> str:
    """What is on file, once all of it is written."""
    close_logs()
    return "".join(path.read_text() for path in folder.glob("warnings-*.log"))


def test_a_failure_is_on_file_with_its_traceback_even_where_print_was_replaced(tmp_path, monkeypatch):
    configure_log(str(tmp_path))
    monkeypatch.setattr(
        builtins, "print", lambda *values, file=None, **more: file and file.write(f"({values})")
    )
    try:
        raise ValueError("the reason")
    except ValueError as error:
        logging.getLogger("serve.ingress.middleware").error("request failed path=%s", "/x", exc_info=error)
    text = written(tmp_path)
    assert "ERROR serve.ingress.middleware request failed path=/x" in text
    assert text.endswith("ValueError: the reason\n") and "Traceback (most recent call last):\n  File" in text
    assert text.count("Traceback") == 1


def test_the_log_has_each_warning_of_our_code_once_and_no_others(tmp_path):
    configure_log(str(tmp_path / "first"))
    configure_log(str(tmp_path))
    logging.getLogger("serve.inference.release_watcher").info("small talk")
    logging.getLogger("another").warning("none of ours")
    logging.getLogger("common.release.registry").warning("release odd")
    text = written(tmp_path)
    assert text.count("\n") == 1 and "release odd" in text
    assert written(tmp_path / "first") == ""


@pytest.mark.parametrize("where", ["stderr", "off"])
def test_without_a_folder_logging_is_left_alone(where):
    before = list(logging.getLogger("serve").handlers)
    configure_log(where)
    assert logging.getLogger("serve").handlers == before


class Gate:
    """A disk that is slow: it writes nothing until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened, self.threads = threading.Event(), set()
        emit = BoundedFile.emit

        def slowly(file: BoundedFile, record: logging.LogRecord) -> None:
            assert self.opened.wait(60)
            self.threads.add(threading.get_ident())
            emit(file, record)

        monkeypatch.setattr(BoundedFile, "emit", slowly)


def lines_of(folder: Path) -> list[str]:
    """The lines of the access log, once all are written."""
    close_logs()
    return [line for path in sorted(folder.glob("access-*")) for line in path.read_text().splitlines()]


def test_a_request_does_not_wait_for_its_line_to_be_written_and_none_is_lost_at_the_end(
    tmp_path, monkeypatch
):
    gate, observer = Gate(monkeypatch), Observer(str(tmp_path))
    for number in range(100):
        observer.finished(Facts(f"id-{number}"), "GET", "/x", "/x", 200)
    gate.opened.set()
    assert [json.loads(line)["request_id"] for line in lines_of(tmp_path)] == [f"id-{n}" for n in range(100)]
    assert len(gate.threads) == 1 and threading.get_ident() not in gate.threads
    close_logs()  # as at the end of the process


def test_the_access_log_of_a_service_is_written_by_another_thread(tmp_path, monkeypatch):
    threads = set()
    emit = BoundedFile.emit
    monkeypatch.setattr(
        BoundedFile, "emit", lambda self, record: (threads.add(threading.get_ident()), emit(self, record))
    )
    model_client = ModelClient(
        None, None, ServeSettings(home=str(tmp_path), access_log=str(tmp_path / "log"))
    )
    assert Client(http_service(model_client)).get("/healthz").status_code == 200
    close_logs()
    (line,) = [json.loads(line) for path in (tmp_path / "log").glob("access-*") for line in path.open()]
    assert (line["path"], line["status"]) == ("/healthz", 200)
    assert len(threads) == 1 and threading.get_ident() not in threads


def test_lines_beyond_what_may_wait_are_dropped_and_counted(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(metrics, "MAX_WAITING", 10)
    gate, observer = Gate(monkeypatch), Observer(str(tmp_path))
    for number in range(1_000):
        observer.finished(Facts(f"id-{number}"), "GET", "/x", "/x", 200)
    gate.opened.set()
    while observer._lines.qsize():
        time.sleep(0.01)
    observer.finished(Facts("later"), "GET", "/x", "/x", 200)
    lines = lines_of(tmp_path)
    dropped = [record.args[0] for record in caplog.records if "log lines were dropped" in record.msg]
    assert (
        sum(dropped) + len(lines) == 1_001
        and sum(dropped) > 900
        and json.loads(lines[-1])["request_id"] == "later"
    )


def test_waiting_rows_are_written_when_the_process_ends_without_closing(tmp_path):
    code = (
        "import logging\n"
        "from serve.observability.log_files import configure_log, open_access_log\n"
        f"lines = open_access_log({str(tmp_path)!r}); configure_log({str(tmp_path)!r})\n"
        "for n in range(500): lines.put(f'line {n}')\n"
        "logging.getLogger('serve.x').warning('the last')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    (access,), (warnings,) = tmp_path.glob("access-*"), tmp_path.glob("warnings-*")
    assert access.read_text().splitlines() == [f"line {number}" for number in range(500)]
    assert warnings.read_text().endswith("WARNING serve.x the last\n")


def sizes(folder: Path, stem: str) -> list[int]:
    return [path.stat().st_size for path in folder.glob(f"{stem}-*")]


def old_file(path: Path, size: int, age: int) -> Path:
    path.write_bytes(b"x" * size)
    os.utime(path, (1_000_000 - age, 1_000_000 - age))
    return path


def test_files_of_former_starts_are_deleted_from_the_oldest_on_by_number_and_size(tmp_path, monkeypatch):
    monkeypatch.setattr(log_files, "TOTAL_FILES", 3)
    monkeypatch.setattr(log_files, "TOTAL_BYTES", 1_000)
    files = [old_file(tmp_path / f"access-{age}-1.jsonl", 10, age) for age in range(6)]
    big = old_file(tmp_path / "warnings-1-1.log", 900, 1)
    rotated = old_file(tmp_path / "warnings-0-1.log.1", 200, 2)
    other = old_file(tmp_path / "notes.txt", 5_000, 9)
    open_access_log(str(tmp_path))
    configure_log(str(tmp_path))
    logging.getLogger("serve.x").warning("one")
    close_logs()
    assert [path.exists() for path in files] == [True] * 3 + [False] * 3
    assert big.exists() and not rotated.exists() and other.exists()


def test_a_file_that_was_written_lately_may_be_in_use_and_is_not_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr(log_files, "TOTAL_FILES", 1)
    used, idle = (old_file(tmp_path / f"access-20200101-000000-{n}.jsonl", 10, 0) for n in (1, 2))
    now = time.time()
    os.utime(used, (now - log_files.IN_USE_S + 60,) * 2)
    os.utime(idle, (now - log_files.IN_USE_S - 60,) * 2)
    newest = tmp_path / "access-20220101-000000-1.jsonl"
    newest.write_text("x")
    open_access_log(str(tmp_path))
    assert used.exists() and newest.exists() and not idle.exists()


def test_however_often_and_long_routers_run_their_logs_stay_within_bounds(tmp_path, monkeypatch):
    monkeypatch.setattr(log_files, "LOG_BYTES", 1_000)
    monkeypatch.setattr(log_files, "TOTAL_BYTES", 5_000)
    monkeypatch.setattr(log_files, "IN_USE_S", 0)
    clock = [0]
    monkeypatch.setattr("serve.observability.log_files.time.strftime", lambda _: f"{clock[0]:08}")
    for start in range(10):
        clock[0] = start
        lines = open_access_log(str(tmp_path))
        for _ in range(100):
            lines.put("x" * 99)
        close_logs()
    assert 3_000 <= sum(sizes(tmp_path, "access")) <= 6_000


def test_an_unexpected_failure_is_logged_once_with_its_request_id(tmp_path, monkeypatch, caplog):
    model_client = ModelClient(None, None, ServeSettings(home=str(tmp_path), access_log="off"))

    def fails() -> None:
        raise RuntimeError("/etc/inside")

    monkeypatch.setattr(model_client, "clear", fails)
    answer = Client(http_service(model_client)).post("/api/v4/cache/clear")
    assert answer.status_code == 500 and "inside" not in answer.text
    (record,) = [item for item in caplog.records if item.exc_info]
    assert f"request_id={answer.headers['x-request-id']}" in record.getMessage()
    assert record.exc_info[1].args == ("/etc/inside",)
