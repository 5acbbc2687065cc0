"""X.509-SVIDs: profile, draft, lint."""
