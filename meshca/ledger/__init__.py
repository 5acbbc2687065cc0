"""The record of every signature: intent before, outcome after."""
