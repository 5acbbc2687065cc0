"""PostgreSQL, shared by several replicas, behind the ports of the ledger and the authority."""
