"""The spine: from a credential to a certificate."""
