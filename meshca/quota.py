"""Token buckets per identity and per namespace."""
