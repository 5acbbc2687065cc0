"""Records on this machine's disk while a shared store is out of reach, for a bounded time."""
