"""Check that our loop learns what ``fit`` learns: validation loss after equal epochs.

At the same batch size the arithmetic is the same, so the losses must be equal. Batch 32 takes eight times the
steps per epoch, so at the same rate it is ahead in a short training like this one; a larger batch needs a
larger rate, for Adam by the square root of the ratio of batch sizes (Malladi et al., NeurIPS 2022).
"""

import statistics
from typing import Any

import numpy as np
import rich.box
from cases import Case, KerasFit
from rich.console import Console
from rich.table import Table

from common.presets import FitConfig

SEEDS, EPOCHS = 3, 4


def measure(case: Case) -> dict[str, Any]:
    """Train ours and ``fit`` from the same weights; validation MSE by contender, seed and epoch."""
    from train.fit.loop import EpochLoop

    loop = EpochLoop(
        case.loop.shape,
        case.loop.config,
        batch_size=case.loop.batch_size,
        clipnorm=case.config.clipnorm,
        unknown_id_rate=0.0,
        masking=(),
    )
    size = loop.batch_size
    same, small = KerasFit(case, size), KerasFit(case, 32)
    losses = {
        f"ours, batch {size}": _ours(case, loop, 1.0),
        f"fit, batch {size}": _fit(case, loop, same),
        f"ours, batch {size}, rate x {(size / 32) ** 0.5:.1f}": _ours(case, loop, (size / 32) ** 0.5),
        "fit, batch 32": _fit(case, loop, small),
    }
    ours, theirs, *_ = losses.values()
    gap = float(np.abs(np.array(ours) / np.array(theirs) - 1).max())
    return {"validation_mse": losses, "largest_relative_gap_at_equal_batch": gap}


def _ours(case: Case, loop: Any, faster: float) -> list[list[float]]:
    """Validation MSE of ours by seed and epoch, at ``faster`` times the preset's rate, kept constant."""
    changes = {"learning_rate": case.config.learning_rate * faster, "final_fraction": 1.0}
    config = FitConfig.model_validate({**case.config.model_dump(), **changes})
    (x, ids), y = case.arrays(case.data.valid)
    losses = []
    for seed in range(SEEDS):
        loop.start(seed=seed)
        losses.append([])
        for epoch in range(EPOCHS):
            loop.epoch([_batches(case, loop, _order(case, seed, epoch))], config, total_steps=1, seed=seed)
            losses[-1].append(float(np.mean((loop.predict(x, ids) - y) ** 2)))
    return losses


def _fit(case: Case, loop: Any, fit: KerasFit) -> list[list[float]]:
    """Validation MSE of ``fit`` by seed and epoch, from the weights and in the order that ours has."""
    x, y = case.arrays(case.data.valid)
    losses = []
    for seed in range(SEEDS):
        loop.start(seed=seed)
        fit.start_like(loop)
        losses.append([])
        for epoch in range(EPOCHS):
            fit.epoch(_order(case, seed, epoch))
            losses[-1].append(float(fit.network.evaluate(x, y, batch_size=1024, verbose=0)))
    return losses


def _order(case: Case, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(len(case.data.train))


def _batches(case: Case, loop: Any, order: np.ndarray) -> Any:
    from train.fit.loop import Batches

    (x, ids), y = case.arrays(case.data.train.take(order))
    shaped = [part.reshape(-1, loop.batch_size, *part.shape[1:]) for part in (x, ids, y[..., 0])]
    return Batches(*shaped, np.ones(shaped[0].shape[:2], dtype=np.float32))


def show(document: dict[str, Any], console: Console) -> None:
    title = f"\nEqual quality: validation MSE after each epoch, mean +- spread of {SEEDS} seeds"
    table = Table(title=title, title_justify="left", title_style="bold", box=rich.box.SIMPLE_HEAD)
    table.add_column("training")
    for epoch in range(1, EPOCHS + 1):
        table.add_column(f"epoch {epoch}", justify="right")
    for name, seeds in document["validation_mse"].items():
        epochs = zip(*seeds, strict=True)
        table.add_row(name, *(f"{statistics.mean(e):.5f} +- {statistics.stdev(e):.5f}" for e in epochs))
    console.print(table)
    gap = document["largest_relative_gap_at_equal_batch"]
    console.print(f"ours against fit at the same batch: at most {gap:.1e} apart (relative), seed by seed")
