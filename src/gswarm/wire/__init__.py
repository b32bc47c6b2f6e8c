"""The wire between host and clients: the only room that knows protobuf, gRPC and certificates."""

import os

# gRPC's core writes every closed connection to stderr; what matters arrives here as an error and is told by us.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
