"""The log of served forecasts, its hash chain, and receipts."""
