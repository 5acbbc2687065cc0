"""meshca: workload identity and certificate authority of a service mesh."""
