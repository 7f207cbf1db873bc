"""What a router warns of is on file: Ray Serve drops what its replicas say on stderr."""

import builtins
import logging
from pathlib import Path

import pytest

from serve.observe import configure_log


@pytest.fixture(autouse=True)
def handlers():
    loggers = [logging.getLogger(name) for name in ("serve", "common")]
    before = [list(logger.handlers) for logger in loggers]
    yield
    for logger, kept in zip(loggers, before, strict=True):
        for handler in [each for each in logger.handlers if each not in kept]:
            logger.removeHandler(handler)
            handler.close()


def written(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.glob("warnings-*.log"))


def test_a_failure_is_on_file_with_its_traceback_even_where_print_was_replaced(tmp_path, monkeypatch):
    configure_log(str(tmp_path))
    monkeypatch.setattr(
        builtins, "print", lambda *values, file=None, **more: file and file.write(f"({values})")
    )
    try:
        raise ValueError("the reason")
    except ValueError as error:
        logging.getLogger("serve.front").error("request failed path=%s", "/x", exc_info=error)
    text = written(tmp_path)
    assert "ERROR serve.front request failed path=/x" in text
    assert text.endswith("ValueError: the reason\n") and "Traceback (most recent call last):\n  File" in text


def test_it_holds_warnings_of_our_code_alone_and_each_once(tmp_path):
    configure_log(str(tmp_path / "first"))
    configure_log(str(tmp_path))
    logging.getLogger("serve.reload").info("small talk")
    logging.getLogger("another").warning("none of ours")
    logging.getLogger("common.model.registry").warning("release odd")
    assert written(tmp_path).count("\n") == 1 and "release odd" in written(tmp_path)
    assert written(tmp_path / "first") == ""


@pytest.mark.parametrize("where", ["stderr", "off"])
def test_without_a_folder_logging_is_left_alone(where):
    before = list(logging.getLogger("serve").handlers)
    configure_log(where)
    assert logging.getLogger("serve").handlers == before
