"""Decide which marks separate decimals and thousands in price files, by the numbers of all of them."""

from collections import Counter
from collections.abc import Iterable, Sequence

from common.archive.description.described_file import APART, Description, PriceFile, Undecided, listed
from common.archive.description.guess import MARKS, grouping, number
from common.archive.forms import number_pattern, parse_number
from common.errors import ArchiveError

Marks = tuple[str, str]
JUMP = 3.0
"""Ratio of a close to the one before it, or the inverse, that speaks against a reading."""
ALIKE = 0.9
"""Least share of a file's readable numbers that the marks of all files must read."""


def describe_numbers(files: Sequence[PriceFile], decimal_comma: bool | None) -> Description:
    """Return ``decimal`` and ``thousands`` of files that share a ``columns.toml``.

    Raises
    ------
    Undecided
        If the comma or the point can separate decimals or thousands, and ``decimal_comma`` is None.
    ArchiveError
        If the files have different marks.
    """
    numbers = sum((file.numbers for file in files), Counter[str]())
    if shown := [file for file in files if len(_by_decimal(file.numbers)) == 1]:
        _check_alike(files, _best(shown[0].numbers)[0])
    chosen, by_decimal = _best(numbers)[0], _by_decimal(numbers)
    reasons, doubts = [], list[str]()
    if len(by_decimal) == 2:
        chosen, why = _decide(files, by_decimal, decimal_comma, doubts)
        reasons.append(f"decimal {chosen[0]!r}: {why}")
    _check_alike(files, chosen)
    settings = {"decimal": chosen[0], "thousands": chosen[1]}
    reasons.append(f"decimal {chosen[0]!r}: {_count(numbers, chosen)} of {numbers.total()} numbers are read")
    return Description(settings, reasons, doubts)


def _best(numbers: Counter[str]) -> list[Marks]:
    """Return the marks that read most numbers."""
    counts = {marks: _count(numbers, marks) for marks in MARKS}
    return [marks for marks in MARKS if counts[marks] == max(counts.values())]


def _by_decimal(numbers: Counter[str]) -> dict[str, Marks]:
    """Return the marks that read about as many numbers as any, by the mark of decimals, the best last.

    There are none if the numbers have neither comma nor point.
    """
    counts = sorted(((_count(numbers, marks), marks) for marks in reversed(MARKS)), key=lambda pair: pair[0])
    marked = any("," in text or "." in text for text in numbers)
    return {marks[0]: marks for count, marks in counts if marked and count >= ALIKE * counts[-1][0]}


def _count(numbers: Counter[str], marks: Marks) -> int:
    return sum(count for text, count in numbers.items() if number(text, marks))


def _check_alike(files: Sequence[PriceFile], marks: Marks) -> None:
    """Raise ArchiveError unless some marks read about as many numbers of each file as any others."""
    counts = {file.path: _count(file.numbers, marks) for file in files}
    most = {file.path: _count(file.numbers, _best(file.numbers)[0]) for file in files}
    if apart := [file for file in files if counts[file.path] < ALIKE * most[file.path]]:
        raise ArchiveError(
            f"Numbers in {listed(apart)} are not written with {' and '.join(marks)}, as those of other files "
            f"are. {APART}"
        )


def _decide(
    files: Sequence[PriceFile], marks: dict[str, Marks], decimal_comma: bool | None, doubts: list[str]
) -> tuple[Marks, str]:
    """Choose between two marks of decimals that read about equally many numbers, and say why."""
    prices = sum((file.prices for file in files), Counter[str]())
    volumes = sum((file.volumes for file in files), Counter[str]())
    numbers = sum((file.numbers for file in files), Counter[str]())
    faults = {
        mark: numbers.total() - _count(numbers, both) + sum(_breaks(file.rows(), both) for file in files)
        for mark, both in marks.items()
    }
    if faults["."] != faults[","]:
        mark = min(faults, key=lambda mark: faults[mark])
        return marks[mark], f"with the other one, {max(faults.values())} numbers or rows do not fit"
    if decimal_comma is not None:
        return marks["," if decimal_comma else "."], "as given"
    delimiter = files[0].settings.get("delimiter")
    for mark, other in (",.", ".,"):
        plain = grouping(volumes, marks[other]) == {False} and grouping(prices, marks[other]) == {True}
        if plain and mark != delimiter:
            why = "volumes have no separated thousands"
            doubts.append(f"decimal {mark!r}: prices could also have the marks exchanged, but {why}")
            return marks[mark], why
    texts = (row["close"] for file in files for row in file.rows())
    text = next((text for text in texts if "," in text or "." in text), "1,000")
    raise Undecided(
        f"{files[0].path}: {text!r} may have a mark of decimals or of thousands, and no number shows which. "
        "Use --decimal-comma or --decimal-point.",
        path=str(files[0].path),
    )


def _breaks(rows: Iterable[dict[str, str]], marks: Marks) -> int:
    """Count the rows whose low, close and high are in no order, or whose close is far from the one before."""
    pattern, last, breaks = number_pattern(*marks), dict[str, float](), 0
    for row in rows:
        texts = [row.get(name, "") for name in ("low", "close", "high")]
        low, close, high = (parse_number(text, pattern, marks[0]) for text in texts)
        before = last.get(symbol := row.get("symbol", ""), close)
        breaks += low > close or close > high or low > high
        breaks += close > JUMP * before or before > JUMP * close
        if close > 0:
            last[symbol] = close
    return breaks
