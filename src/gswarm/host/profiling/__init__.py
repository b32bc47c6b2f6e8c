"""What the host does with samples: their streams, sessions, summaries, and its own figures for Prometheus."""
