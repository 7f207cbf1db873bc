"""Commands: serve, predict, card, receipt, replay."""
