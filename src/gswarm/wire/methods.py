"""Names that both ends of the gRPC port use: ``/<package>.<service>/<method>`` of the files in ``proto/``."""

from __future__ import annotations

SESSION_METHOD = "/gswarm.v1.Cluster/Session"
METRICS_METHOD = "/gswarm.v1.Metrics/Push"
SAMPLES_METHOD = "/gswarm.v1.Metrics/Samples"
LOCATE_METHOD = "/gswarm.v1.Pool/Locate"
REACH_METHOD = "/gswarm.v1.Pool/Reach"

METHODS: dict[str, str] = {
    SESSION_METHOD: "as itself, and for its own grants and jobs",
    METRICS_METHOD: "about runs that it holds or held",
    SAMPLES_METHOD: "what its own sensors measure",
    LOCATE_METHOD: "who has a blob",
    REACH_METHOD: "what another client may fetch from it",
}
"""Every RPC, each for holders of a client's certificate only, and what it lets them do. One that is not here is not served."""

CLIENT_NAME_KEY = "gswarm-client"
"""Metadata with the caller's name. With TLS it must be the certificate's."""
