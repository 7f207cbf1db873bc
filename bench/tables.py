"""Turn the results of `all` into Markdown for docs/results.md, with each target beside its result."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Document = dict[str, Any]
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
"""The markers of the generated section; the rest of the page stays as it is."""


def markdown(rows: Sequence[Sequence[object]]) -> str:
    """A table; the first row is its header."""
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]) + "\n"


def aims(*aims_met: tuple[str, float | None, float, str]) -> str:
    """Sentences of (what, figure, aim, unit): an aim is met from its figure on."""
    return " ".join(
        f"{what}: {'no figure' if figure is None else f'**{figure:.2f}{unit}**'} (aim {aim:g}{unit}: "
        f"{'met' if figure is not None and figure >= aim else 'MISSED'})."
        for what, figure, aim, unit in aims_met
    )


def training(document: Document) -> str:
    parts = []
    for preset, speed in document["speed"].items():
        rows = [("training", "samples/s", "by CPU time", "of the matmul peak", "x `fit` 32, by CPU time")]
        for name, row in speed["rows"].items():
            bold = "**" if name.startswith("ours") else ""
            rows.append(
                (
                    f"{bold}{name}{bold}" + (" (best `fit`)" if name == speed["best_fit"] else ""),
                    f"{row['samples_per_s']:,}",
                    f"{row['samples_per_cpu_s']:,}",
                    f"{row['share_of_peak']:.0%}",
                    _range(row["ratio_to_fit_32_cpu"]),
                )
            )
        title = (
            f"`{preset}`: {speed['channels']} channel(s), {speed['mflop_per_sample']} MFLOP a sample, "
            f"{speed['rounds']} rounds in turns, medians (lowest - highest); matmul peak "
            f"{speed['peak_gflops']:.0f} GFLOP/s.\n"
        )
        ours = next(row for name, row in speed["rows"].items() if name.startswith("ours"))
        results = [
            ("Ours to `fit` at 32", ours["ratio_to_fit_32_cpu"][1], 2.5, " x"),
            ("Share of the peak", 100 * ours["share_of_peak"], 30, " %"),
        ]
        if preset == "v4_log":
            peer = speed.get("ratio_to_best_torch_cpu", [None] * 3)[1]
            results.append((f"To {speed.get('best_torch', 'PyTorch')}", peer, 1, " x"))
        best = _range(speed["ratio_to_best_fit_cpu"])
        parts += [title, markdown(rows), f"{aims(*results)} To {speed['best_fit']}: {best} x.\n"]
    return "\n".join(parts)


def retrain(document: Document) -> str:
    from retrain import GOAL, LABELS, ORIGINAL

    rows = [
        ("retraining", "s", "CPUs busy", "models", "windows trained on", "MAE KES", "relMAE", "relRMSE", "x")
    ]
    for name, row in document["rows"].items():
        figures = (f"{row[key]:.3f}" for key in ("mae", "rel_mae", "rel_rmse"))
        sums = (f"{row['wall_s']:.0f}", f"{row['cpus_busy']:.1f}", row["models"], f"{row['windows']:,.0f}")
        times = "1" if name == ORIGINAL else f"{row['times']:.1f}"
        rows.append((LABELS[name], *sums, *figures, times))
    epochs = f"; tried on {document['epochs']} epochs and one seed" if document["epochs"] else ""
    changed = " **The code was edited during the runs.**" if document["code_changed"] else ""
    reached = [
        (f"To an error below the original's and the last price's, {LABELS[name]}", times, GOAL, " x")
        for name, times in document["times_to_better"].items()
    ]
    return (
        f"{document['years']} years of the {document['source']}, complete runs{epochs}; errors one day "
        f"ahead over {document['forecasts']:,} held-out forecasts of prices that move (naive MAE "
        f"{document['naive_mae']:.3f} KES).{changed}\n\n{markdown(rows)}\n"
        f"{aims(*reached)}\n"
    )


def rivals(document: Document) -> str:
    import pandas as pd
    from accuracy import ratios

    source = "the synthetic market" if document["synthetic"] else "the archive"
    took = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in document["seconds"].items())
    return (
        f"{document['release']} on {source}, cutoffs {document['from']} to {document['to']}, weights fixed; "
        "relMAE (published) / relRMSE (raw), \\* p < .05, \\*\\* p < .01 by Diebold-Mariano against the last "
        f"price. NHITS and LSTM are neuralforecast's, trained on all stocks together. Time taken: {took}."
        f"\n\n{ratios(pd.DataFrame(document['figures']))}"
    )


def serving(document: Document) -> str:
    names = {
        "remembered": "**ours, as shipped**",
        "computed": "**ours, every answer computed**",
        "onnx": "FastAPI + ONNX Runtime, 2 workers",
        "plain": "FastAPI + Keras `model.predict`",
    }
    rows = [
        ("server", "p50 / p99 ms at 1", "requests/s at 32", "p99 ms at 32", "not 2xx", "x Keras", "x ONNX")
    ]
    base = {name: document[name]["mixed"]["32"]["per_s"] for name in ("plain", "onnx")}
    for name, label in names.items():
        one, many = (document[name]["mixed"][str(count)] for count in (1, 32))
        lost = one["not_2xx"] + many["not_2xx"]
        times = (f"{many['per_s'] / max(base[item], 1e-9):.1f}" for item in base)
        alone = f"{one['p50_ms']} / {one['p99_ms']}"
        rows.append((label, alone, f"{many['per_s']:,.0f}", many["p99_ms"], lost, *times))
    return (
        f"{document['release']}, mixed stocks, {document['seconds']} s each after a warm-up; load by "
        f"{document['generator']} on the same CPUs.\n\n{markdown(rows)}"
    )


def growth(document: Document) -> str:
    rows = [("symbols", "workers", "windows", "read s", "plan s", "arrays s", "epoch s", "private MB")]
    for row in document["rows"]:
        driver = (f"{row[name]:.1f}" for name in ("read_s", "plan_s", "arrays_s", "epoch_s"))
        counts = f"{row['symbols']:,}", row["workers"], f"{row['windows']:,}"
        rows.append((*counts, *driver, f"{row['private_mb']:.0f}"))
    command = [("symbols, through `nsecast train`", "seconds", "private MB", "uss MB", "pss MB", "mapped MB")]
    for row in document["commands"]:
        memory = (f"{row[name]:.0f}" for name in ("all_s", "private_mb", "uss_mb", "pss_mb", "mapped_mb"))
        command.append((f"{row['symbols']:,}", *memory))
    two = ", ".join(f"{speed:.2f} x at {symbols}" for symbols, speed in document["speed_of_two"].items())
    tables = f"{markdown(command)}\n{markdown(rows)}"
    return f"{tables}\n{_exponents(document, 'symbols')} Two workers: {two}. {_verdicts(document)}\n"


def history(document: Document) -> str:
    from history import STEPS

    rows = [("years", "rows", "windows", *(f"{name.removesuffix('_s')} s" for name in STEPS))]
    for row in document["rows"]:
        counts = (f"{row[name]:,}" for name in ("years", "rows", "windows"))
        rows.append((*counts, *(f"{row[name]:.1f}" for name in STEPS)))
    return f"The {document['source']}, one core.\n\n{markdown(rows)}\n{_exponents(document, 'years')}\n"


def _exponents(document: Document, of: str) -> str:
    slopes = {name: slopes for name, slopes in document["exponents"].items() if slopes}
    ranges = ", ".join(f"{_plain(name)} {slope[0]:.2f} ({slope[-1]:.2f})" for name, slope in slopes.items())
    return f"Exponents b of {of}^b, over all sizes and in brackets over the last two: {ranges}."


def _plain(name: str) -> str:
    return (
        name.replace("_s", "", 1).replace("_mb", " MB").replace(", 1", ", one worker").replace(", 2", ", two")
    )


def _verdicts(document: Document) -> str:
    return (
        "; ".join(f"{name}: {'yes' if right else '**NO**'}" for name, right in document["verdicts"].items())
        + "."
    )


def _range(ratios: Iterable[float]) -> str:
    low, middle, high = ratios
    return f"{middle:.2f} ({low:.2f} - {high:.2f})"


def put(page: Path, body: str) -> None:
    """Write the section into the page; a missing page is created."""
    text = page.read_bytes().decode() if page.exists() else ""
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_bytes(replaced(text, body).encode())


def replaced(text: str, body: str) -> str:
    """The text with ``body`` between its markers, at its end if it has none.

    Raises
    ------
    ValueError
        If the markers are not one of each, in order, or ``body`` has one itself.
    """
    if BEGIN in body or END in body:
        raise ValueError("the section itself holds a marker")
    section = f"{BEGIN}\n{body.strip()}\n{END}"
    marks = text.count(BEGIN), text.count(END)
    if marks == (0, 0):
        gap = "" if not text or text.endswith("\n\n") else "\n" if text.endswith("\n") else "\n\n"
        return f"{text}{gap}{section}\n"
    before, begun, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if marks != (1, 1) or not begun or not ended:
        raise ValueError(f"markers: {marks[0]} of {BEGIN}, {marks[1]} of {END}; need one of each, in order")
    return f"{before}{section}{after}"
