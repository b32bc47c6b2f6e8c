"""Backups of a host: what is in one, how it is taken while the host runs, and how a host is set up from it."""
