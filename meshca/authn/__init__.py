"""Proves who is calling: an ordered chain of authenticators."""
