"""Structured logging: one event name, fields from a list, JSON off a terminal."""
