"""Names that both ends of the gRPC port use: ``/<package>.<service>/<method>`` of the files in ``proto/``."""

from __future__ import annotations

SESSION_METHOD = "/gswarm.v1.Cluster/Session"
METRICS_METHOD = "/gswarm.v1.Metrics/Push"
LOCATE_METHOD = "/gswarm.v1.Pool/Locate"

CLIENT_NAME_KEY = "gswarm-client"
"""Metadata with the caller's name; believed only where there is no TLS."""
