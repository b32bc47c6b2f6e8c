"""What the tests of tokens and enrolments share."""

from __future__ import annotations

from argon2 import PasswordHasher

from gswarm.wire.tls import CertificateAuthority, make_key_and_csr

AUTHORITY = CertificateAuthority.create("cluster-1")
_KEY, CSR = make_key_and_csr("node-1")


class Time:
    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class CountingHasher:
    """Cheap, and counts how often a secret is proven the slow way."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        self.hash = self._hasher.hash
        self.verified = 0

    def verify(self, secret_hash: str, digest: str) -> bool:
        self.verified += 1
        return self._hasher.verify(secret_hash, digest)
