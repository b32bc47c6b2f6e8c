"""Alerts: what the host looks at, what it remembers of it, and whom it tells."""
