"""Which networks a candidate averages."""

from types import SimpleNamespace

import numpy as np
import pytest

from train.fit.state import save_weights
from train.workers.tasks import _candidate


@pytest.mark.parametrize(
    ("seeds", "finetuned", "average"),
    [
        (4, 2, ["g0", "g1", "g2", "g3", "f0", "f1", "f0", "f1"]),
        (1, 2, ["g0", "f0"]),
        (2, 2, ["g0", "g1", "f0", "f1"]),
    ],
)
def test_the_average_counts_fine_tuned_and_general_networks_alike(tmp_path, seeds, finetuned, average):
    for number in range(seeds):
        for task, name in (
            (f"general/seed-{number}", f"g{number}"),
            (f"KCB/finetune-{number}", f"f{number}"),
        ):
            (tmp_path / "tasks" / task).mkdir(parents=True)
            if task.startswith("general") or number < finetuned:
                save_weights(tmp_path / "tasks" / task / "weights.npz", [np.array(name)])
    dataset = SimpleNamespace(
        run_dir=tmp_path, config=SimpleNamespace(seeds=seeds, finetuned_seeds=finetuned)
    )

    def averaged(name):
        return [str(weights[0]) for weights in _candidate(dataset, "KCB", name)[1]]

    assert averaged("average") == average
    assert averaged("general") == [name for name in average if name.startswith("g")]
    assert averaged("fine-tuned") == [f"f{number}" for number in range(min(seeds, finetuned))]
