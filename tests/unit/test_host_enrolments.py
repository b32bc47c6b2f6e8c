"""Whose certificate counts, and the file of an earlier version."""

from __future__ import annotations

import json
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from auth_kit import AUTHORITY, CSR, CountingHasher, Time
from gswarm.domain.errors import ConflictError, IncompatibleVersionError, NotFoundError, UnauthenticatedError
from gswarm.host.access import auth
from gswarm.host.access.auth import Revoked, TokenStore
from gswarm.wire.tls import Peer, peer_of
from gswarm.wire.token import JoinToken

FIXTURES = Path(__file__).parents[1] / "fixtures" / "auth"


@pytest.fixture(autouse=True)
def hasher(monkeypatch: pytest.MonkeyPatch) -> CountingHasher:
    counting = CountingHasher()
    monkeypatch.setattr(auth, "HASHER", counting)
    return counting


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def tokens(tmp_path: Path, time: Time) -> TokenStore:
    return TokenStore(tmp_path / "auth.db", AUTHORITY, lambda: 8092, time)


# ---- certificates -------------------------------------------------------------------------------------------------------


def join(tokens: TokenStore, name: str) -> Peer:
    return peer_of(tokens.enrol(tokens.create("client", client=name).text, name, CSR))


def test_a_certificate_counts_until_it_is_revoked_also_after_a_restart(tokens: TokenStore, tmp_path: Path, time: Time) -> None:
    one, two = join(tokens, "node-1"), join(tokens, "node-2")
    told: list[Revoked] = []
    tokens.watch(told.append)
    tokens.revoke_client("node-1")
    tokens.revoke_client("node-1")
    assert told[0] == Revoked(None, ("node-1",))
    tokens.close()
    for store in (tokens, TokenStore(tmp_path / "auth.db", AUTHORITY, lambda: 1, time)):
        store.check_client(two)
        with pytest.raises(UnauthenticatedError, match="'node-1' was revoked"):
            store.check_client(one)
        with pytest.raises(UnauthenticatedError):
            store.renew(one, CSR)
    with pytest.raises(NotFoundError):
        TokenStore(tmp_path / "auth.db", AUTHORITY, lambda: 1, time).revoke_client("nobody")


def test_a_revoked_name_comes_back_only_with_a_token_for_it_and_the_old_certificate_never(tokens: TokenStore) -> None:
    old = join(tokens, "node-1")
    tokens.revoke_client("node-1")
    with pytest.raises(ConflictError):
        tokens.enrol(tokens.create("client").text, "node-1", CSR)
    new = join(tokens, "node-1")
    tokens.check_client(new)
    with pytest.raises(UnauthenticatedError):
        tokens.check_client(old)


@pytest.mark.parametrize("is_given_out_again", [False, True])
def test_a_certificate_that_is_revoked_while_a_token_is_looked_at_proves_nothing(
    tokens: TokenStore, monkeypatch: pytest.MonkeyPatch, is_given_out_again: bool
) -> None:
    old, spare, looked = join(tokens, "node-1"), tokens.create("client"), tokens._prove

    def look(*args: Any) -> None:
        monkeypatch.setattr(tokens, "_prove", looked)
        looked(*args)
        tokens.revoke_client("node-1")
        if is_given_out_again:
            join(tokens, "node-1")

    monkeypatch.setattr(tokens, "_prove", look)
    with pytest.raises(ConflictError, match="joined as node-1 before"):
        tokens.enrol(spare.text, "node-1", CSR, shown=old)
    with pytest.raises(UnauthenticatedError):
        tokens.check_client(old)


def test_an_enrolment_of_any_text_is_looked_at(tokens: TokenStore) -> None:
    with pytest.raises(UnauthenticatedError):
        tokens.check_client(replace(join(tokens, "node-1"), enrolment="\u00e9"))


def test_a_name_that_changes_hands_ends_the_certificates_of_the_machine_that_had_it(tokens: TokenStore) -> None:
    lost = join(tokens, "node-1")
    found = join(tokens, "node-1")
    tokens.check_client(found)
    with pytest.raises(UnauthenticatedError):
        tokens.check_client(lost)


def test_renewal_keeps_both_certificates_good_and_lasts_as_configured(tokens: TokenStore, time: Time) -> None:
    first = join(tokens, "node-1")
    time.now_s += 86_400
    second = peer_of(tokens.renew(first, CSR))
    assert second.expires_at_s - first.expires_at_s == 86_400
    tokens.check_client(first)
    tokens.check_client(second)
    for forged in (
        replace(first, name="node-2"),
        replace(first, enrolment="0" * 16),
        replace(first, role="host"),
        Peer("node-1", "client"),
    ):
        with pytest.raises(UnauthenticatedError):
            tokens.renew(forged, CSR)


def test_revoking_a_join_token_cuts_who_came_by_it(tokens: TokenStore) -> None:
    several = tokens.create("client", uses=3)
    guests = [peer_of(tokens.enrol(several.text, name, CSR)) for name in ("x", "y")]
    other = join(tokens, "z")
    told: list[Revoked] = []
    tokens.watch(told.append)
    assert tokens.revoke(several.id) == ("x", "y")
    assert tokens.revoke(several.id) == ()
    assert told[0] == Revoked(several.id, ("x", "y"))
    tokens.check_client(other)
    for guest in guests:
        with pytest.raises(UnauthenticatedError):
            tokens.check_client(guest)


# ---- the file of before ----------------------------------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path: Path) -> dict[str, str]:
    """The first form of the file lies at auth.db; its tokens, and a certificate that it gave out."""
    shutil.copy(FIXTURES / "v0.db", tmp_path / "auth.db")
    document = json.loads((FIXTURES / "v0.json").read_text())
    token = replace(JoinToken.parse(document["tokens"]["client"]), ca_fingerprint=AUTHORITY.fingerprint)
    return {**document["tokens"], "client": token.format(), "certificate": document["certificate"]}


def test_an_old_file_is_brought_into_the_present_form(hasher: CountingHasher, old: dict[str, str], tmp_path: Path, time: Time) -> None:
    with sqlite3.connect(tmp_path / "auth.db") as reader:
        digests = [digest for (digest,) in reader.execute("SELECT secret_digest FROM tokens")]
        before = reader.execute("SELECT id, role, created_at_s, uses_left, revoked_at_s FROM tokens ORDER BY id").fetchall()
    time.now_s = 2_000.0
    store = TokenStore(tmp_path / "auth.db", AUTHORITY, lambda: 1, time)
    for role in ("viewer", "operator", "admin"):
        assert store.authenticate(old[role]).role == role
    with pytest.raises(UnauthenticatedError, match="revoked"):
        store.authenticate(old["revoked"])
    guest = peer_of(old["certificate"].encode())
    store.check_client(guest)
    assert peer_of(store.renew(guest, CSR)).name == "node-1"
    assert peer_of(store.enrol(old["client"], "node-2", CSR)).name == "node-2"
    after = sorted((one.id, one.role, one.created_at_s, one.uses_left, one.revoked_at_s) for one in store.list())
    assert [one[:3] for one in after] == [one[:3] for one in before]
    store.close()
    left = b"".join(path.read_bytes() for path in tmp_path.glob("auth.db*"))
    assert len(digests) == 5
    assert not any(digest.encode() in left for digest in digests)
    again = TokenStore(tmp_path / "auth.db", AUTHORITY, lambda: 1, time)
    assert again.authenticate(old["admin"]).role == "admin"
    again.revoke_client("node-1")
    with pytest.raises(UnauthenticatedError):
        again.check_client(guest)


def test_bringing_an_old_file_up_to_date_is_all_or_nothing(
    hasher: CountingHasher, old: dict[str, str], tmp_path: Path, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(digest: str) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(hasher, "hash", killed)
        with pytest.raises(KeyboardInterrupt):
            TokenStore(tmp_path / "auth.db", AUTHORITY, lambda: 1, time)
    assert TokenStore(tmp_path / "auth.db", AUTHORITY, lambda: 1, time).authenticate(old["viewer"]).role == "viewer"


def test_a_file_of_a_newer_gswarm_is_left_alone(tmp_path: Path, time: Time) -> None:
    with sqlite3.connect(tmp_path / "auth.db") as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(IncompatibleVersionError, match="format 99"):
        TokenStore(tmp_path / "auth.db", AUTHORITY, lambda: 1, time)
