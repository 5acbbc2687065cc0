"""Who someone is: SPIFFE IDs, service accounts, and callers before and after they are proven."""
