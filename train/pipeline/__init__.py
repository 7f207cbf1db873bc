"""The jobs from end to end: training, backtest and rivals."""
