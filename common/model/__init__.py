"""Scaling, networks, forecasting, bundles and the release registry."""
