"""No blob that a root reaches or somebody pins is ever swept; without them nothing stays."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gswarm.datapool.manifest import Entry, Manifest, save_manifest
from gswarm.datapool.memory import MemoryStore
from gswarm.datapool.pins import Pins
from gswarm.datapool.refs import mark, plan_sweep
from gswarm.datapool.sweep import sweep
from gswarm.domain.ids import Digest

NODES = st.integers(0, 11)


def name(number: int) -> Digest:
    return Digest(f"{number:064x}")


@given(
    st.dictionaries(NODES, st.sets(NODES, max_size=4)),
    st.sets(NODES),
    st.sets(NODES),
    st.sets(NODES),
    st.sets(NODES),
)
def test_the_plan_against_a_naive_model(
    edges: dict[int, set[int]], present: set[int], roots: set[int], pinned: set[int], young: set[int]
) -> None:
    reached = set(roots)
    for _ in range(12):
        reached |= {child for parent in reached for child in edges.get(parent, ())}
    marked = mark(map(name, roots), lambda digest: map(name, edges.get(int(digest, 16), ())))
    assert marked == set(map(name, reached))
    planned = plan_sweep(map(name, present), marked, set(map(name, pinned)), set(map(name, young)))
    assert planned == sorted(map(name, present - reached - pinned - young))


class Pool:
    """A memory store with eight blobs and some manifests over them, on a clock of its own."""

    def __init__(self, trees: list[set[int]]) -> None:
        self.now_s = 1000.0
        self.store = MemoryStore(clock=lambda: self.now_s)
        self.blobs = [self.put(b"%d" % number) for number in range(8)]
        self.trees = {
            save_manifest(self.store, Manifest("test", tuple(Entry(f"f{n}", self.blobs[n], 1) for n in sorted(tree)))): {
                self.blobs[n] for n in tree
            }
            for tree in trees
        }

    def put(self, data: bytes) -> Digest:
        with self.store.ingest() as ingest:
            ingest.write(data)
            return ingest.commit()


@given(st.lists(st.sets(st.integers(0, 7)), max_size=4), st.data())
def test_sweeps_of_a_store(trees: list[set[int]], data: st.DataObject) -> None:
    pool = Pool(trees)
    try:
        everything = set(pool.store.digests())
        choice = st.sets(st.sampled_from(sorted(everything)))
        roots, held = data.draw(choice), data.draw(choice)
        pins = Pins()
        for number, digest in enumerate(sorted(held)):
            pins.pin([digest], f"owner-{number % 2}")
        must_stay = held | roots | {child for root in roots for child in pool.trees.get(root, ())}

        assert sweep(pool.store, roots, pins, pool.now_s, grace_s=10).digests == ()
        pool.now_s += 11
        planned = sweep(pool.store, roots, pins, pool.now_s, grace_s=10, dry_run=True)
        assert set(pool.store.digests()) == everything
        assert sweep(pool.store, roots, pins, pool.now_s, grace_s=10) == planned
        assert set(pool.store.digests()) == must_stay
        assert set(planned.digests) == everything - must_stay

        pins.unpin("owner-0")
        pins.unpin("owner-1")
        sweep(pool.store, (), pins, pool.now_s, grace_s=10)
        assert list(pool.store.digests()) == []
    finally:
        pool.store.close()
