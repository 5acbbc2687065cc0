"""xDS sessions as a pure state table, and the resources they carry."""
