"""Walks roots and intermediates through their states: by adoption, by command, and never past a closed gate."""
