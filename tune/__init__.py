"""The search over embedding and LSTM sizes."""
