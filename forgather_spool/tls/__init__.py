"""TLS for our servers: an authority of one's own, a certificate for this host, and contexts that verify."""
