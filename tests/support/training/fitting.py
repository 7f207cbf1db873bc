"""A small network, its training loop and its settings."""

from common.forecast.representation import Residual
from common.presets import FitConfig, NetworkConfig, NetworkShape
from support.prices.panel import SPEC
from train.fit.loop import EpochLoop

NETWORK = NetworkConfig(embedding_dim=2, lstm_units=(4, 4), dense_units=3, dropout=0.2)
SHAPE = NetworkShape(
    size=SPEC.size, channels=len(Residual.channels), days=SPEC.horizons, stock_ids=7, mixture=True
)
CONFIG = FitConfig(batch_size=16, epochs=3, windows_per_epoch=32, learning_rate=0.01, patience=3)
GROUPS = tuple(
    (tuple(Residual.channels.index(name) for name in names), 0.3) for names in Residual.hidden.values()
)


def loop_of(batch_size: int = 16, rate: float = 0.1, groups=GROUPS) -> EpochLoop:
    return EpochLoop(
        SHAPE, NETWORK, batch_size=batch_size, clipnorm=1.0, unknown_id_rate=rate, masking=groups
    )
