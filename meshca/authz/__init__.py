"""Which identity may call which service: policies, their decision, and their form for Envoy."""
