"""The exchange: its stocks, sectors, trading days, clock and ticks."""
