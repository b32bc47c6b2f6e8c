"""Tokens: what lets somebody in, and how each refusal says why."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from auth_kit import AUTHORITY, CSR, CountingHasher, Time
from gswarm.domain.errors import ConflictError, InvalidInputError, NotFoundError, UnauthenticatedError
from gswarm.host.access import auth
from gswarm.host.access.auth import TokenStore
from gswarm.wire.tls import CertificateAuthority, peer_of
from gswarm.wire.token import ApiToken, JoinToken

REAL_HASHER = auth.HASHER


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture(autouse=True)
def hasher(monkeypatch: pytest.MonkeyPatch) -> CountingHasher:
    counting = CountingHasher()
    monkeypatch.setattr(auth, "HASHER", counting)
    return counting


@pytest.fixture
def tokens(tmp_path: Path, time: Time) -> TokenStore:
    return TokenStore(tmp_path / "auth.db", AUTHORITY, lambda: 8092, time)


def test_a_bearer_token_names_its_role(tokens: TokenStore) -> None:
    made = tokens.create("operator")
    principal = tokens.authenticate(made.text)
    assert (principal.token_id, principal.role) == (made.id, "operator")


def test_only_a_digest_is_stored(tokens: TokenStore, tmp_path: Path) -> None:
    made = tokens.create("admin")
    secret = ApiToken.parse(made.text).secret
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert secret not in stored
    assert secret.hex().encode() not in stored
    assert made.text.encode() not in stored


def test_the_file_is_private(tokens: TokenStore, tmp_path: Path) -> None:
    assert (tmp_path / "auth.db").stat().st_mode & 0o077 == 0


def test_unknown_garbled_revoked_and_expired_tokens_each_say_so(tokens: TokenStore, time: Time) -> None:
    known = tokens.create("viewer")
    stranger = ApiToken(known.id, b"x" * 20).format()
    with pytest.raises(UnauthenticatedError, match="unknown here"):
        tokens.authenticate(stranger)
    with pytest.raises(UnauthenticatedError, match="unknown here"):
        tokens.authenticate(ApiToken.new().format())
    with pytest.raises(UnauthenticatedError, match="does not begin with"):
        tokens.authenticate("nonsense")
    tokens.revoke(known.id)
    with pytest.raises(UnauthenticatedError, match="revoked"):
        tokens.authenticate(known.text)
    short = tokens.create("viewer", ttl_s=10)
    time.now_s += 10
    with pytest.raises(UnauthenticatedError, match="expired"):
        tokens.authenticate(short.text)


def test_a_join_token_logs_nobody_in_and_a_bearer_token_enrols_nobody(tokens: TokenStore) -> None:
    join, bearer = tokens.create("client"), tokens.create("admin")
    with pytest.raises(UnauthenticatedError):
        tokens.authenticate(join.text)
    with pytest.raises(UnauthenticatedError):
        tokens.enrol(bearer.text, "node-1", CSR)
    # The same id and secret in the other form must not pass either.
    parsed = JoinToken.parse(join.text)
    with pytest.raises(UnauthenticatedError, match="unknown here"):
        tokens.authenticate(ApiToken(parsed.id, parsed.secret).format())


def test_enrolling_gives_a_certificate_once(tokens: TokenStore) -> None:
    join = tokens.create("client")
    peer = peer_of(tokens.enrol(join.text, "node-1", CSR))
    assert (peer.name, peer.role) == ("node-1", "client")
    with pytest.raises(UnauthenticatedError, match="used already"):
        tokens.enrol(join.text, "node-1", CSR)


def test_a_bad_request_does_not_use_the_token_up(tokens: TokenStore) -> None:
    join = tokens.create("client")
    with pytest.raises(InvalidInputError):
        tokens.enrol(join.text, "node-1", b"no request")
    with pytest.raises(InvalidInputError):
        tokens.enrol(join.text, "no/name", CSR)
    assert tokens.enrol(join.text, "node-1", CSR)


def test_join_tokens_end_revoked_or_after_an_hour_or_in_another_cluster(tokens: TokenStore, time: Time, tmp_path: Path) -> None:
    revoked, late = tokens.create("client"), tokens.create("client")
    tokens.revoke(revoked.id)
    with pytest.raises(UnauthenticatedError, match="revoked"):
        tokens.enrol(revoked.text, "node-1", CSR)
    time.now_s += 3_600
    with pytest.raises(UnauthenticatedError, match="expired"):
        tokens.enrol(late.text, "node-1", CSR)
    (tmp_path / "b").mkdir()
    other = TokenStore(tmp_path / "b" / "auth.db", CertificateAuthority.create("cluster-2"), lambda: 1, time)
    with pytest.raises(UnauthenticatedError, match="another cluster"):
        tokens.enrol(other.create("client").text, "node-1", CSR)


def test_one_use_is_one_use_under_concurrency(tokens: TokenStore) -> None:
    join = tokens.create("client", uses=3)
    outcomes: list[str] = []

    def enrol(number: int) -> None:
        try:
            tokens.enrol(join.text, f"node-{number}", CSR)
            outcomes.append("in")
        except UnauthenticatedError:
            outcomes.append("refused")

    threads = [threading.Thread(target=enrol, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["in"] * 3 + ["refused"] * 9


def test_a_name_is_given_to_one_machine(tokens: TokenStore, tmp_path: Path, time: Time) -> None:
    """Whoever has a client's certificate has its work: one that is offline must not lose its name to the next that joins."""
    own = peer_of(tokens.enrol(tokens.create("client").text, "node-1", CSR))
    other = tokens.create("client", uses=2)
    for store in (tokens, TokenStore(tmp_path / "auth.db", AUTHORITY, lambda: 1, time)):
        with pytest.raises(ConflictError, match="joined as node-1 before") as refused:
            store.enrol(other.text, "NODE-1", CSR)
        assert "gswarm token create --role client --name node-1" in refused.value.hint
    assert peer_of(tokens.enrol(other.text, "node-1", CSR, shown=own)).enrolment == own.enrolment, "its own certificate is renewed"
    assert peer_of(tokens.enrol(other.text, "node-2", CSR)).name == "node-2", "a refusal uses nothing up"


def test_a_token_for_one_client_gives_that_name_again_and_no_other(tokens: TokenStore) -> None:
    tokens.enrol(tokens.create("client").text, "node-1", CSR)
    again = tokens.create("client", client="Node-1")
    assert [(info.client, info.uses_left) for info in tokens.list() if info.id == again.id] == [("node-1", 1)]
    other = peer_of(tokens.enrol(tokens.create("client").text, "node-2", CSR))
    for shown in (None, other):
        with pytest.raises(UnauthenticatedError, match="is for the client node-1"):
            tokens.enrol(again.text, "node-2", CSR, shown=shown)
    with pytest.raises(ConflictError, match="connected already"):
        tokens.enrol(again.text, "node-1", CSR, is_connected=True)
    assert tokens.enrol(again.text, "node-1", CSR)
    with pytest.raises(UnauthenticatedError, match="used already"):
        tokens.enrol(again.text, "node-1", CSR)


@pytest.mark.parametrize(("role", "uses", "client"), [("viewer", None, "node-1"), ("client", 2, "node-1"), ("client", None, "../node")])
def test_impossible_names_for_tokens_are_refused(tokens: TokenStore, role: str, uses: int | None, client: str) -> None:
    with pytest.raises(InvalidInputError):
        tokens.create(role, uses=uses, client=client)


def test_the_list_shows_ends_and_uses_but_no_secret(tokens: TokenStore, time: Time) -> None:
    made = tokens.create("client", ttl_s=60, uses=2)
    tokens.enrol(made.text, "node-1", CSR)
    [info] = tokens.list()
    assert (info.id, info.role, info.uses_left, info.expires_at_s, info.last_used_at_s) == (made.id, "client", 1, 1_060.0, 1_000.0)


def test_tokens_survive_a_restart(tokens: TokenStore, tmp_path: Path, time: Time) -> None:
    made = tokens.create("viewer")
    tokens.close()
    assert TokenStore(tmp_path / "auth.db", AUTHORITY, lambda: 1, time).authenticate(made.text).role == "viewer"


def test_reading_the_api_does_not_write_each_time(tokens: TokenStore, tmp_path: Path, time: Time) -> None:
    made = tokens.create("viewer")
    tokens.authenticate(made.text)
    with sqlite3.connect(tmp_path / "auth.db") as reader:
        before = reader.execute("PRAGMA data_version").fetchone()
        for _ in range(50):
            tokens.authenticate(made.text)
        assert reader.execute("PRAGMA data_version").fetchone() == before
        time.now_s += 61
        tokens.authenticate(made.text)
        assert reader.execute("PRAGMA data_version").fetchone() != before


@pytest.mark.parametrize(
    ("role", "ttl_s", "uses"),
    [("root", None, None), ("viewer", 0, None), ("viewer", -1, None), ("viewer", 1e12, None), ("viewer", None, 1), ("client", None, 0)],
)
def test_impossible_tokens_are_refused(tokens: TokenStore, role: str, ttl_s: float | None, uses: int | None) -> None:
    with pytest.raises(InvalidInputError):
        tokens.create(role, ttl_s, uses)


def test_revoking_twice_is_once_and_unknown_ids_are_said(tokens: TokenStore, time: Time) -> None:
    made = tokens.create("viewer")
    tokens.revoke(made.id)
    time.now_s += 5
    tokens.revoke(made.id)
    assert tokens.list()[0].revoked_at_s == 1_000.0
    with pytest.raises(NotFoundError):
        tokens.revoke("nope")


# ---- hashes -------------------------------------------------------------------------------------------------------------


def test_secrets_are_hashed_with_argon2id_as_owasp_asks(tokens: TokenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "HASHER", REAL_HASHER)
    tokens.create("viewer")
    with sqlite3.connect(tmp_path / "auth.db") as reader:
        [(secret_hash,)] = reader.execute("SELECT secret_hash FROM tokens").fetchall()
    assert secret_hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_a_proven_secret_is_remembered_and_what_ends_it_acts_at_once(hasher: CountingHasher, tokens: TokenStore, time: Time) -> None:
    lasting, short = tokens.create("admin"), tokens.create("viewer", ttl_s=10)
    for _ in range(1_000):
        tokens.authenticate(lasting.text)
        tokens.authenticate(short.text)
    assert hasher.verified == 2
    time.now_s += 10
    with pytest.raises(UnauthenticatedError, match="expired"):
        tokens.authenticate(short.text)
    tokens.revoke(lasting.id)
    with pytest.raises(UnauthenticatedError, match="revoked"):
        tokens.authenticate(lasting.text)
    with pytest.raises(UnauthenticatedError, match="revoked"):
        tokens.principal(lasting.id)


def test_what_is_remembered_is_no_secret_and_opens_to_no_other_secret(hasher: CountingHasher, tokens: TokenStore) -> None:
    made = tokens.create("admin")
    tokens.authenticate(made.text)
    parsed = ApiToken.parse(made.text)
    kept = repr(tokens._proven)
    assert parsed.secret.hex() not in kept
    assert parsed.secret_digest not in kept
    for _ in range(3):
        with pytest.raises(UnauthenticatedError, match="unknown here"):
            tokens.authenticate(ApiToken(made.id, b"x" * 20).format())
    assert hasher.verified == 4
    assert tokens.authenticate(made.text).role == "admin"
    assert hasher.verified == 4


def test_memory_of_proven_secrets_has_a_limit(hasher: CountingHasher, tokens: TokenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "REMEMBERED_MAX", 3)
    made = [tokens.create("viewer") for _ in range(5)]
    for token in made:
        tokens.authenticate(token.text)
    assert list(tokens._proven) == [token.id for token in made[2:]]
    tokens.authenticate(made[0].text)
    assert hasher.verified == 6


def test_a_token_that_is_revoked_during_its_slow_hash_is_refused(
    hasher: CountingHasher, tokens: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tokens.create("admin")
    verify = hasher.verify

    def revoked_meanwhile(secret_hash: str, digest: str) -> bool:
        tokens.revoke(made.id)
        return verify(secret_hash, digest)

    monkeypatch.setattr(hasher, "verify", revoked_meanwhile)
    with pytest.raises(UnauthenticatedError, match="revoked"):
        tokens.authenticate(made.text)
    assert not tokens._proven


def test_the_principal_of_an_id_is_that_of_its_token(tokens: TokenStore, time: Time) -> None:
    made, join = tokens.create("operator", ttl_s=10), tokens.create("client")
    assert tokens.principal(made.id).role == "operator"
    tokens.authenticate(made.text)
    assert tokens.principal(made.id).role == "operator"
    for wrong in (join.id, "nope"):
        with pytest.raises(UnauthenticatedError):
            tokens.principal(wrong)
    time.now_s += 10
    with pytest.raises(UnauthenticatedError, match="expired"):
        tokens.principal(made.id)
