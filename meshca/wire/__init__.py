"""gRPC building blocks for both sides: interceptors, xDS over gRPC, peer credentials."""
