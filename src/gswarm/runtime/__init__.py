"""What the daemons of host and client share: their own log, locks that end with their process."""
