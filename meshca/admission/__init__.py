"""Who may be issued what: rules and their decision."""
