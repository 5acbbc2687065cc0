"""Composition roots: server, worker, demo; the only place that wires rooms together."""
