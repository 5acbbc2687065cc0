"""Checks of a live cluster that name the fault and what mends it; see `istio` for the table."""
