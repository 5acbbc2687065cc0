"""The agent beside a workload: own key and certificate, renewal, relay to Envoys."""
