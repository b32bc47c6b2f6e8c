"""What this machine measures, on its way to the host: nothing is lost while the disk has room."""
