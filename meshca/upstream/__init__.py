"""Who signs our signing certificate."""
