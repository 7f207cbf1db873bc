"""The network of preset ``v4_log`` in PyTorch, for `train_speed`; run by the peers' interpreter.

    python torch_lstm.py FILE.npz BATCH

The file holds x (N, T, C), ids (N, 1), y (N,) and the network's sizes. For each line on stdin, trains once on
every window in random order and prints a line of JSON with the time and the mean loss.
"""

import json
import sys
import time

import numpy as np
import torch
from torch import nn


class Network(nn.Module):
    def __init__(self, sizes: dict[str, float], channels: int) -> None:
        super().__init__()
        units = int(sizes["units"])
        self.lstm = nn.LSTM(channels, units, num_layers=int(sizes["layers"]), batch_first=True)
        self.stock = nn.Embedding(int(sizes["stock_ids"]), int(sizes["embedding"]))
        self.dropout = nn.Dropout(sizes["dropout"])
        self.dense = nn.Linear(units + int(sizes["embedding"]), int(sizes["dense"]))
        self.out = nn.Linear(int(sizes["dense"]), 1)

    def forward(self, x: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        last = self.lstm(x)[0][:, -1]
        joined = torch.cat([self.dropout(last), self.stock(ids)], dim=1)
        return self.out(self.dropout(torch.relu(self.dense(joined))))[:, 0]


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with np.load(sys.argv[1], allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    x, y = torch.from_numpy(arrays.pop("x")), torch.from_numpy(arrays.pop("y"))
    ids = torch.from_numpy(arrays.pop("ids")[:, 0].astype(np.int64))
    sizes = {name: float(value) for name, value in arrays.items()}
    network = Network(sizes, x.shape[2])
    adam = torch.optim.Adam(network.parameters(), lr=sizes["rate"], fused=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        loss = epoch(network, adam, x, ids, y, int(sys.argv[2]), sizes["clipnorm"])
        took = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        print(json.dumps(took | {"loss": loss, "version": torch.__version__}), flush=True)


def epoch(
    network: Network,
    adam: torch.optim.Optimizer,
    x: torch.Tensor,
    ids: torch.Tensor,
    y: torch.Tensor,
    batch: int,
    clipnorm: float,
) -> float:
    total = torch.zeros(())
    for rows in torch.randperm(len(x)).split(batch):
        loss = nn.functional.mse_loss(network(x[rows], ids[rows]), y[rows])
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), clipnorm)
        adam.step()
        total += loss.detach() * len(rows)
    return float(total / len(x))


if __name__ == "__main__":
    main()
