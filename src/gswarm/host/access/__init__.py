"""Who is who and who may do what: tokens, logins, the door that encloses each call, what a client may fetch, the audit log."""
