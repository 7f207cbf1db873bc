"""Networks: input channels, scaling and outputs."""
