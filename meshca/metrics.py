"""Every metric of the server, in one table."""
