"""The command line: one module for each command group; parses and prints, nothing else."""
