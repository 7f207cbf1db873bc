"""The exchange: its counters, sectors, trading days, clock and ticks."""
