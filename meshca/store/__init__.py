"""SQLite or PostgreSQL behind the ports of the ledger and the authority."""
