"""Blobs between machines, over HTTP.

::

    GET  /v1/blobs/{digest}            the bytes, whole or a range
    HEAD /v1/blobs/{digest}            their size
    HEAD /v1/blobs/{digest}?upload=1   how many bytes of the caller's unfinished upload are here (Upload-Offset)
    PUT  /v1/blobs/{digest}?offset=N   all bytes from N on; committed when the digest is right
    POST /v1/blobs/missing             a JSON list of digests -> those that are absent

Refusals are ``application/problem+json`` with the error's ``code``, ``detail`` and ``hint``.
"""

from gswarm.datapool.transfer.client import PoolClient, RetryPolicy
from gswarm.datapool.transfer.http import Source
from gswarm.datapool.transfer.server import KEPT_OPEN_S, open_server, pool_routes, refusal

__all__ = ["KEPT_OPEN_S", "PoolClient", "RetryPolicy", "Source", "open_server", "pool_routes", "refusal"]
