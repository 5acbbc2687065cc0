"""The driver that keeps a proven signing certificate in force."""
