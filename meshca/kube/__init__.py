"""The one door to Kubernetes: reviews, pods, Secrets, ConfigMaps and leases, behind the ports of their users."""
