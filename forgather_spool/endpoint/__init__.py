"""A trainer's HTTP endpoint: the mailbox, spoken to over loopback with a token."""
