"""All configuration: models, their loader, and the names that both ends of a subscription agree on."""
