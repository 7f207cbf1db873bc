"""Whether our loop learns what ``fit`` learns: validation loss after equal epochs."""

import statistics
from typing import Any

import numpy as np
import rich.box
from cases import Case, KerasFit, constant_rate
from rich.console import Console
from rich.table import Table

SEEDS, EPOCHS = 3, 3


def measure(case: Case) -> dict[str, Any]:
    """Train ours and ``fit`` from the same weights; validation MSE by contender, seed and epoch."""
    from train.loop import EpochLoop, Masking

    loop = EpochLoop(
        case.loop.shape,
        case.loop.config,
        batch_size=case.loop.batch_size,
        clipnorm=case.config.clipnorm,
        unknown_id_rate=0.0,
        masking=Masking(()),
    )
    fits = {f"fit, batch {batch}": KerasFit(case, batch) for batch in (case.loop.batch_size, 32)}
    ours = f"ours, batch {case.loop.batch_size}"
    losses: dict[str, list[list[float]]] = {name: [] for name in (ours, *fits)}
    for seed in range(SEEDS):
        loop.start(seed=seed)
        for fit in fits.values():
            fit.start_like(loop)
        found: dict[str, list[float]] = {name: [] for name in losses}
        for epoch in range(EPOCHS):
            order = np.random.default_rng((seed, epoch)).permutation(len(case.data.train))
            found[ours].append(_our_epoch(case, loop, order))
            for name, fit in fits.items():
                fit.epoch(order)
                x, y = case.arrays(case.data.valid)
                found[name].append(float(fit.network.evaluate(x, y, batch_size=1024, verbose=0)))
        for name, values in found.items():
            losses[name].append(values)
    same = f"fit, batch {case.loop.batch_size}"
    gaps = np.abs(np.array(losses[ours]) / np.array(losses[same]) - 1)
    return {"validation_mse": losses, "largest_relative_gap_at_equal_batch": float(gaps.max())}


def _our_epoch(case: Case, loop: Any, order: np.ndarray) -> float:
    """One epoch of ours in this order; the validation loss after it."""
    from train.loop import Batches

    size = loop.batch_size
    (x, ids), y = case.arrays(case.data.train.take(order))
    shaped = [part.reshape(len(order) // size, size, *part.shape[1:]) for part in (x, ids, y[..., 0])]
    sigma = np.ones(shaped[0].shape[:2], dtype=np.float32)
    loop.epoch(Batches(*shaped, sigma), constant_rate(case.config), total_steps=1, seed=0)
    (x, ids), y = case.arrays(case.data.valid)
    return float(np.mean((loop.predict(x, ids)[..., 0] - y[..., 0]) ** 2))


def show(found: dict[str, Any], console: Console) -> None:
    title = f"\nEqual quality: validation MSE after each epoch, mean +- spread of {SEEDS} seeds"
    table = Table(title=title, title_justify="left", title_style="bold", box=rich.box.SIMPLE_HEAD)
    table.add_column("training")
    for epoch in range(1, EPOCHS + 1):
        table.add_column(f"epoch {epoch}", justify="right")
    for name, seeds in found["validation_mse"].items():
        epochs = zip(*seeds, strict=True)
        table.add_row(name, *(f"{statistics.mean(e):.5f} +- {statistics.stdev(e):.5f}" for e in epochs))
    console.print(table)
    gap = found["largest_relative_gap_at_equal_batch"]
    console.print(f"ours against fit at the same batch: at most {gap:.1e} apart (relative), seed by seed")
