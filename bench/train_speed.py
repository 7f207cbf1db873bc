"""Measure how fast one core trains: our epoch loop beside Keras' ``fit``, and whether both learn the same.

    python bench/train_speed.py [--archive DIR] [--json] [--seconds N] [--peers PYTHON] [--no-quality]

Everything runs in one process on one core, the contenders in turns, over several rounds; figures are
medians, ratios are taken inside a round. Ours is the whole of an epoch as `train.fit.fit` does it: shuffling
the windows, cutting them, masking, training. ``fit`` gets ready arrays, neither masks nor validates, and
is timed inside its epoch alone: what the call takes until it comes back stands in a column of its own.
*By CPU time* is what to compare when others use the machine. What ours gains on batch 32 is the batch
size and the fused LSTM kernel (`train.fit.fused_lstm`); at the same batch it is the kernel alone.

Arithmetic: an LSTM layer of U units on C inputs multiplies a (C + U)-vector by a (C + U, 4U) matrix each
step: 8U(C + U) FLOP. Over 60 steps the two layers of 50 on one channel take 60 * 8 * 50 * (51 + 100) =
3.62 MFLOP forward; forward and backward together three times that, 10.9 MFLOP a sample (11.5 with ten
channels). Gates, embedding, dense layers and Adam are not counted.

PyTorch (``--peers``: an interpreter that has it) trains the network of ``v4_log``, whose loss is MSE: the
same layers and arrays, one thread on the same core, Adam in its fused form, in turns with the others.

Equal quality: the same weights, windows, order, rate and loss (MSE) for the same epochs, dropout as it is.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import quality
import rich.box
from cases import Case, KerasFit, Ours, Pace, Torch
from machine import facts, header, use_one_core
from rich.console import Console
from rich.table import Table

BATCHES = (64, 128, 256, 512, 1024)
SAMPLES = 4096
MATRIX = 2048
GOAL = 2.5
OURS, BASE = "ours, batch 256", "fit, batch 32"
TORCH_BATCHES = (32, 256)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--archive", type=Path, metavar="DIR", help="default: the synthetic market")
    parser.add_argument("--json", action="store_true", help="JSON on stdout")
    parser.add_argument("--seconds", type=float, default=45, help="for the rounds of each network")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="windows in one turn")
    parser.add_argument("--peers", type=Path, metavar="PYTHON", help="an interpreter with PyTorch")
    parser.add_argument("--no-quality", action="store_true", help="speed only")
    options = parser.parse_args()
    environment = facts()
    use_one_core()
    with tempfile.TemporaryDirectory(prefix="nsecast-bench-") as home:
        case = {
            name: Case.load(name, options.archive, Path(home), options.samples)
            for name in ("v4_log", "residual")
        }
    speed = {name: measure_speed(item, options.seconds, options.peers) for name, item in case.items()}
    document = {"machine": environment, "speed": speed}
    if not options.no_quality:
        document["quality"] = quality.measure(case["v4_log"])
    if options.json:
        print(json.dumps(document, indent=1))
    else:
        show(document)


def measure_speed(case: Case, seconds: float, peers: Path | None) -> dict[str, Any]:
    """Rounds of one turn each for every contender, at least three, until the seconds are over."""
    contenders: dict[str, Callable[[], Pace]] = {
        OURS: Ours(case).turn,
        BASE: KerasFit(case, 32).turn,
        **{f"fit, batch {batch}": KerasFit(case, batch).turn for batch in BATCHES},
    }
    if peers and not case.loop.shape.mixture:
        torches = {batch: Torch(case, batch, peers) for batch in TORCH_BATCHES}
        version = torches[32].version.partition("+")[0]
        contenders |= {f"PyTorch {version}, batch {batch}": torch.turn for batch, torch in torches.items()}
    for turn in contenders.values():
        turn()  # compiles
    rounds: list[dict[str, Pace]] = []
    peaks: list[float] = []
    until = time.monotonic() + seconds
    while len(rounds) < 3 or time.monotonic() < until:
        first = len(rounds) % len(contenders)
        names = [*contenders][first:] + [*contenders][:first]
        rounds.append({name: contenders[name]() for name in names})
        peaks.append(matmul_gflops())
    return summary(case, rounds, peaks)


def summary(case: Case, rounds: list[dict[str, Pace]], peaks: list[float]) -> dict[str, Any]:
    rows = {}
    for name in rounds[0]:
        paces = [paces_by_model[name] for paces_by_model in rounds]
        shares = [pace.wall * case.flop / 1e9 / peak for pace, peak in zip(paces, peaks, strict=True)]
        pace = statistics.median(pace.wall for pace in paces)
        rows[name] = {
            "samples_per_s": round(pace),
            "samples_per_cpu_s": round(statistics.median(pace.cpu for pace in paces)),
            "samples_per_s_of_call": round(statistics.median(pace.of_call for pace in paces)),
            "gflops": round(pace * case.flop / 1e9, 1),
            "share_of_peak": round(statistics.median(shares), 3),
            "ratio_to_fit_32": _range([item[name].wall / item[BASE].wall for item in rounds]),
            "ratio_to_fit_32_cpu": _range([item[name].cpu / item[BASE].cpu for item in rounds]),
        }
    kinds = {name: [row for row in rows if row.startswith(name)] for name in ("fit", "PyTorch")}
    best, *others = (
        max(names, key=lambda name: rows[name]["samples_per_cpu_s"]) for names in kinds.values() if names
    )
    torch = (
        {
            "best_torch": others[0],
            "ratio_to_best_torch": _range([item[OURS].wall / item[others[0]].wall for item in rounds]),
            "ratio_to_best_torch_cpu": _range([item[OURS].cpu / item[others[0]].cpu for item in rounds]),
        }
        if others
        else {}
    )
    return {
        **torch,
        "channels": case.loop.shape.channels,
        "mflop_per_sample": round(case.flop / 1e6, 2),
        "rounds": len(rounds),
        "peak_gflops": round(statistics.median(peaks), 1),
        "rows": rows,
        "best_fit": best,
        "ratio_to_best_fit": _range([item[OURS].wall / item[best].wall for item in rounds]),
        "ratio_to_best_fit_cpu": _range([item[OURS].cpu / item[best].cpu for item in rounds]),
        "goal_met": rows[OURS]["ratio_to_fit_32_cpu"][1] >= GOAL,
    }


def _range(ratios: Sequence[float]) -> list[float]:
    """[minimum, median, maximum]"""
    return [round(ratio, 2) for ratio in (min(ratios), statistics.median(ratios), max(ratios))]


def matmul_gflops(repeats: int = 5) -> float:
    """What TensorFlow reaches on large float32 matrices on this core, now."""
    import tensorflow as tf

    matrix = tf.constant(np.random.default_rng(0).normal(size=(MATRIX, MATRIX)), tf.float32)
    tf.linalg.matmul(matrix, matrix).numpy()
    started = time.perf_counter()
    for _ in range(repeats):
        tf.linalg.matmul(matrix, matrix).numpy()
    return repeats * 2 * MATRIX**3 / 1e9 / (time.perf_counter() - started)


def show(document: dict[str, Any]) -> None:
    console = Console(width=130, highlight=False)
    console.print(header(document["machine"]) + "; one core used", soft_wrap=True)
    for name, speed in document["speed"].items():
        title = (
            f"\n{name}: {speed['channels']} channel(s), {speed['mflop_per_sample']} MFLOP a sample, "
            f"{speed['rounds']} rounds; matmul peak {speed['peak_gflops']} GFLOP/s"
        )
        table = Table(title=title, title_justify="left", title_style="bold", box=rich.box.SIMPLE_HEAD)
        headings = (
            "samples/s",
            "by CPU time",
            "whole call",
            "GFLOP/s",
            "of peak",
            "x fit-32",
            "x fit-32 by CPU",
        )
        table.add_column("training")
        for heading in headings:
            table.add_column(heading, justify="right")
        for row, values in speed["rows"].items():
            table.add_row(
                row + (" (best fit)" if row == speed["best_fit"] else ""),
                f"{values['samples_per_s']:,}",
                f"{values['samples_per_cpu_s']:,}",
                f"{values['samples_per_s_of_call']:,}",
                f"{values['gflops']:.1f}",
                f"{values['share_of_peak']:.0%}",
                _text(values["ratio_to_fit_32"]),
                _text(values["ratio_to_fit_32_cpu"]),
            )
        console.print(table)
        if "best_torch" in speed:
            ratio = _text(speed["ratio_to_best_torch_cpu"])
            console.print(f"ours is {ratio} x {speed['best_torch']} by CPU time")
        console.print(
            f"ours is {speed['rows'][OURS]['ratio_to_fit_32_cpu'][1]:.2f} x fit at batch 32 by CPU time "
            f"(goal {GOAL}: {'met' if speed['goal_met'] else 'MISSED'}), "
            f"{speed['ratio_to_best_fit_cpu'][1]:.2f} x {speed['best_fit']}"
        )
    if "quality" in document:
        quality.show(document["quality"], console)


def _text(ratios: Sequence[float]) -> str:
    low, middle, high = ratios
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


if __name__ == "__main__":
    main()
