"""What each subscriber should hold."""
