"""What a run trains: its plan, inputs, windows and arrays."""
