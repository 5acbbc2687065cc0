"""What runs beside a workload: Envoy bootstraps and where the Envoy binary is."""
