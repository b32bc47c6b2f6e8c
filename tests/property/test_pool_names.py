"""No name in a manifest leaves its folder, and equal manifests have equal bytes."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gswarm.datapool.manifest import Entry, Manifest, load_manifest, materialise, save_manifest
from gswarm.datapool.memory import MemoryStore
from gswarm.domain.errors import CorruptDataError, InvalidInputError
from gswarm.domain.ids import Digest

ZERO = Digest("0" * 64)
PARTS = st.sampled_from(
    ["..", ".", "", "a", "A", "b", "é", "e\u0301", "\\", "a\\b", "C:", "\0", "\n", "~", "x" * 255, "x" * 256, "\ud800", "ß", "ss"]
)
NAMES = st.one_of(st.lists(PARTS, min_size=1, max_size=5).map("/".join), st.text(max_size=30))
SAFE = st.lists(st.text("abcdefgh0123-_. é", min_size=1, max_size=8).filter(lambda part: part.strip(".")), min_size=1, max_size=4).map(
    "/".join
)


@given(NAMES)
def test_a_name_stays_in_its_folder_or_is_refused(name: str) -> None:
    store = MemoryStore()
    try:
        with store.ingest() as ingest:
            ingest.write(b"x")
            blob = ingest.commit()
        try:
            digest = save_manifest(store, Manifest("test", (Entry(name, blob, 1),)))
        except InvalidInputError:
            return
        with TemporaryDirectory() as folder:
            target = Path(folder, "deep", "er", "target")
            materialise(store, digest, target)
            files = [path for path in Path(folder).rglob("*") if path.is_file()]
            assert files == [target / name]
    finally:
        store.close()


@given(
    st.lists(SAFE, max_size=6),
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.text(st.characters(codec="utf-8"), max_size=5)),
    st.randoms(),
)
def test_manifests_round_trip_in_one_form(names: list[str], meta: dict[str, str], random: object) -> None:
    try:
        entries = [Entry(name, ZERO, index) for index, name in enumerate(names)]
        manifest = Manifest("test", tuple(entries), tuple(meta.items()))
    except InvalidInputError:
        return
    random.shuffle(entries)  # type: ignore[attr-defined]
    again = Manifest("test", tuple(entries), tuple(reversed(meta.items())))
    assert again == manifest
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest


@given(st.data())
def test_damaged_manifests_never_do_worse_than_a_typed_error(data: st.DataObject) -> None:
    good = Manifest("test", (Entry("a/b", ZERO, 3), Entry("c", ZERO, 4)), (("k", "v"),)).to_bytes()
    at = data.draw(st.integers(0, len(good) - 1))
    bad = good[:at] + data.draw(st.binary(max_size=3)) + good[at + data.draw(st.integers(0, 3)) :]
    try:
        assert Manifest.from_bytes(bad).to_bytes() == bad
    except CorruptDataError:
        return


@pytest.mark.parametrize(
    "change",
    [
        {"entries": [["a", "0" * 64, 1], ["A", "0" * 64, 1]]},
        {"entries": [["a", "0" * 64, 1], ["a/b", "0" * 64, 1]]},
        {"entries": [["b", "0" * 64, 1], ["a", "0" * 64, 1]]},
        {"entries": [["a", "0" * 64, True]]},
        {"entries": [["a", "0" * 64, -1]]},
        {"entries": [["a", "0" * 64, 1.0]]},
        {"entries": [["a", "../x", 1]]},
        {"entries": [["a", ["0"], 1]]},
        {"entries": {"a": 1}},
        {"entries": None},
        {"kind": ["x"]},
        {"kind": "../x"},
        {"meta": []},
        {"meta": {"k": 1}},
        {"more": 1},
    ],
)
def test_other_forms_are_refused(change: dict[str, object]) -> None:
    document = {"gswarm_manifest": 1, "kind": "test", "meta": {}, "entries": []} | change
    store = MemoryStore()
    with store.ingest() as ingest:
        ingest.write(json.dumps(document, separators=(",", ":")).encode())
        digest = ingest.commit()
    with pytest.raises(CorruptDataError):
        load_manifest(store, digest)
    store.close()
