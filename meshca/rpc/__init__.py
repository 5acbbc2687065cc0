"""The server's gRPC services: the only place that touches their message fields."""
