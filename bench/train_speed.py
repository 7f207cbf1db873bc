"""How fast one core trains: our epoch loop beside Keras's own ``fit``, and whether they learn the same.

    python bench/train_speed.py [--archive DIR] [--json] [--seconds N]

Everything runs in one process on one core, the contenders in turns, over several rounds; figures are
medians, ratios are taken inside a round. Ours is the whole of an epoch as `train.fit` does it: shuffling
the windows, cutting them, masking, training. ``fit`` gets ready arrays, and neither masks nor validates.

Arithmetic: an LSTM layer of U units on C inputs multiplies a (C + U)-vector by a (C + U, 4U) matrix each
step: 8U(C + U) FLOP. Over 60 steps the two layers of 50 on one channel take 60 * 8 * 50 * (51 + 100) =
3.62 MFLOP forward; forward and backward together three times that, 10.9 MFLOP a sample (11.5 with ten
channels). Gates, embedding, dense layers and Adam are not counted.

Equal quality: the same weights, windows, order, rate and loss (MSE) for the same epochs, dropout as it is.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import quality
import rich.box
from cases import Case, KerasFit, Ours
from machine import facts, header, use_one_core
from rich.console import Console
from rich.table import Table

BATCHES = (64, 128, 256, 512, 1024)
SAMPLES = 4096
"""Windows in one turn."""
MATRIX = 2048
GOAL = 2.5
OURS, BASE = "ours, batch 256", "fit, batch 32"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--archive", type=Path, metavar="DIR", help="default: the synthetic market")
    parser.add_argument("--json", action="store_true", help="JSON on stdout")
    parser.add_argument("--seconds", type=float, default=45, help="for the rounds of each network")
    options = parser.parse_args()
    found = facts()
    use_one_core()
    with tempfile.TemporaryDirectory(prefix="nsecast-bench-") as home:
        case = {
            name: Case.load(name, options.archive, Path(home), SAMPLES) for name in ("v4_log", "residual")
        }
    speed = {name: measure_speed(each, options.seconds) for name, each in case.items()}
    document = {"machine": found, "speed": speed, "quality": quality.measure(case["v4_log"])}
    if options.json:
        print(json.dumps(document, indent=1))
    else:
        show(document)


def measure_speed(case: Case, seconds: float) -> dict[str, Any]:
    """Rounds of one turn each for every contender, at least three, until the seconds are over."""
    contenders: dict[str, Callable[[], float]] = {
        OURS: Ours(case).turn,
        BASE: KerasFit(case, 32).turn,
        **{f"fit, batch {batch}": KerasFit(case, batch).turn for batch in BATCHES},
    }
    for turn in contenders.values():
        turn()  # compiles
    rounds: list[dict[str, float]] = []
    peaks: list[float] = []
    until = time.monotonic() + seconds
    while len(rounds) < 3 or time.monotonic() < until:
        first = len(rounds) % len(contenders)
        names = [*contenders][first:] + [*contenders][:first]
        found = {name: SAMPLES / contenders[name]() for name in names}
        rounds.append(found)
        peaks.append(matmul_gflops())
    return summary(case, rounds, peaks)


def summary(case: Case, rounds: list[dict[str, float]], peaks: list[float]) -> dict[str, Any]:
    rows = {}
    for name in rounds[0]:
        pace = statistics.median(found[name] for found in rounds)
        ratios = sorted(found[name] / found[BASE] for found in rounds)
        shares = [found[name] * case.flop / 1e9 / peak for found, peak in zip(rounds, peaks, strict=True)]
        rows[name] = {
            "samples_per_s": round(pace),
            "gflops": round(pace * case.flop / 1e9, 1),
            "share_of_peak": round(statistics.median(shares), 3),
            "ratio_to_fit_32": [round(r, 2) for r in (ratios[0], statistics.median(ratios), ratios[-1])],
        }
    best = max((name for name in rows if name != OURS), key=lambda name: rows[name]["samples_per_s"])
    return {
        "channels": case.loop.shape.channels,
        "mflop_per_sample": round(case.flop / 1e6, 2),
        "rounds": len(rounds),
        "peak_gflops": round(statistics.median(peaks), 1),
        "rows": rows,
        "best_fit": best,
        "ratio_to_best_fit": round(statistics.median(r[OURS] / r[best] for r in rounds), 2),
        "goal_met": rows[OURS]["ratio_to_fit_32"][1] >= GOAL,
    }


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
    console = Console(width=120, highlight=False)
    console.print(header(document["machine"]) + "; one core used", soft_wrap=True)
    for name, speed in document["speed"].items():
        title = (
            f"\n{name}: {speed['channels']} channel(s), {speed['mflop_per_sample']} MFLOP a sample, "
            f"{speed['rounds']} rounds; matmul peak {speed['peak_gflops']} GFLOP/s"
        )
        table = Table(title=title, title_justify="left", title_style="bold", box=rich.box.SIMPLE_HEAD)
        for heading in ("training", "samples/s", "GFLOP/s", "of peak", "against fit-32 (min / median / max)"):
            table.add_column(heading, justify="left" if heading == "training" else "right")
        for row, values in speed["rows"].items():
            table.add_row(
                row + (" (best fit)" if row == speed["best_fit"] else ""),
                f"{values['samples_per_s']:,}",
                f"{values['gflops']:.1f}",
                f"{values['share_of_peak']:.0%}",
                " / ".join(f"{ratio:.2f}" for ratio in values["ratio_to_fit_32"]),
            )
        console.print(table)
        ratio = speed["rows"][OURS]["ratio_to_fit_32"][1]
        verdict = "met" if speed["goal_met"] else "MISSED"
        console.print(
            f"ours is {ratio:.2f} x fit at batch 32 (goal {GOAL}: {verdict}), "
            f"{speed['ratio_to_best_fit']:.2f} x {speed['best_fit']}"
        )
    quality.show(document["quality"], console)


if __name__ == "__main__":
    main()
