"""Who signs now, which roots count, and what agents have adopted."""
