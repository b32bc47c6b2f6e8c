"""Slots of a machine, and the environment of processes on them."""

from __future__ import annotations

import pytest

from gswarm.client.processes import how_it_ended, slot_environment, visible_device
from gswarm.client.slots import SLOTS_LIMIT, Gpu, Machine, make_slots
from gswarm.domain.errors import InvalidInputError
from gswarm.domain.ids import ClientName

NAME = ClientName("a")
CPU = Machine(8, 64, "cpu model", ())
GPUS = Machine(16, 64, "cpu model", (Gpu("H200", 100), Gpu("A100", 40)))


@pytest.mark.parametrize(
    ("wish", "machine", "per_gpu", "devices"),
    [
        ("auto", CPU, 1, ["cpu"]),
        ("cpu", CPU, 1, ["cpu"]),
        ("cpu:3", GPUS, 1, ["cpu", "cpu", "cpu"]),
        ("auto", GPUS, 1, ["cuda:0", "cuda:1"]),
        ("gpu", GPUS, 1, ["cuda:0", "cuda:1"]),
        ("gpu:1", GPUS, 2, ["cuda:1", "cuda:1"]),
        ("gpu:1,0", GPUS, 1, ["cuda:1", "cuda:0"]),
    ],
)
def test_wishes(wish: str, machine: Machine, per_gpu: int, devices: list[str]) -> None:
    slots = make_slots(wish, NAME, machine, per_gpu)
    assert [slot.device for slot in slots] == devices
    assert [slot.id for slot in slots] == [f"a/{index}" for index in range(len(devices))]


def test_threads_and_memory_are_shared_out() -> None:
    assert [(slot.threads, slot.memory_bytes) for slot in make_slots("cpu:2", NAME, CPU)] == [(4, 32), (4, 32)]
    assert [(slot.threads, slot.memory_bytes) for slot in make_slots("gpu:0", NAME, GPUS, 2)] == [(8, 50), (8, 50)]
    assert make_slots("cpu:1", NAME, Machine(2, 64, "", ()))[0].threads == 1
    assert make_slots("cpu:16", NAME, CPU)[0].threads == 1


@pytest.mark.parametrize(
    "wish", ["", "tpu", "cpu:x", "cpu:-1", "cpu:0", "gpu", "gpu:0", "auto:1", f"cpu:{SLOTS_LIMIT + 1}", "cpu:999999999999"]
)
def test_what_cannot_be_is_refused(wish: str) -> None:
    with pytest.raises(InvalidInputError):
        make_slots(wish, NAME, CPU)


def test_a_gpu_cannot_be_named_twice() -> None:
    with pytest.raises(InvalidInputError, match="slots-per-gpu"):
        make_slots("gpu:0,0", NAME, GPUS)


def test_devices_count_within_what_this_process_may_see() -> None:
    assert visible_device("cuda:1", None) == "1"
    assert visible_device("cuda:1", "5,7") == "7"
    assert visible_device("cuda:0", "GPU-abc") == "GPU-abc"
    assert visible_device("cpu", "5,7") == ""


def test_the_environment_of_a_slot() -> None:
    [slot] = make_slots("cpu:1", NAME, CPU)
    child = slot_environment(slot, {"PATH": "/bin"})
    assert (child["OMP_NUM_THREADS"], child["HF_HUB_OFFLINE"], child["CUDA_VISIBLE_DEVICES"]) == ("8", "1", "")
    assert slot_environment(slot, {"HF_HUB_OFFLINE": "0"})["HF_HUB_OFFLINE"] == "0"
    assert "HF_HUB_OFFLINE" not in slot_environment(slot, {}, is_offline=False)


def test_ends_in_words() -> None:
    assert how_it_ended("job process", 3) == "the job process ended with exit code 3"
    assert "SIGSEGV" in how_it_ended("trainer process", -11)
    assert "out of memory" in how_it_ended("trainer process", -9)
