"""Builds the pretended NVML library and steers what its devices say, so that the real nvitop is used without a GPU."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pynvml

SOURCE = Path(__file__).parent / "nvml_stub" / "stub.c"
LIBRARY = "libnvidia-ml.so.1"
NOT_SUPPORTED = "!3"
GIB = 1024**3


def build(folder: Path) -> Path:
    """Compiles the library into the folder. Every function that pynvml knows is there; most answer NOT_SUPPORTED."""
    source = SOURCE.read_text()
    known = set(re.findall(r'"(nvml[A-Za-z0-9_]+)"', Path(pynvml.__file__).read_text()))
    written = set(re.findall(r"^(?:int|const char \*)\s*(nvml\w+)\(", source, re.MULTILINE))
    rest = "".join(f"int {name}(void) {{ return NOT_SUPPORTED; }}\n" for name in sorted(known - written))
    whole = folder / "nvml.c"
    whole.write_text(source + rest)
    compiler = shutil.which("gcc") or shutil.which("cc")
    assert compiler is not None, "a C compiler is needed to build the pretended NVML library: apt-get install gcc"
    library = folder / LIBRARY
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-pthread", "-o", str(library), str(whole)]
    subprocess.run(command, check=True, timeout=60)
    return library


@dataclass
class Gpus:
    """The state of the pretended devices. Every change is seen by the processes that run already.

    Args:
        folder: with the built library in it.
        state: the file that a process reads.
    """

    folder: Path
    state: Path
    values: dict[str, str] = field(default_factory=dict)

    def set(self, **values: object) -> None:
        """``gpu0_power=1`` sets ``gpu0.power``; ``None`` takes it away."""
        for key, value in values.items():
            name = re.sub(r"^(gpu\d+)_(?:(mig\d+)_)?", lambda found: ".".join(part for part in found.groups() if part) + ".", key)
            if value is None:
                self.values.pop(name, None)
            else:
                self.values[name] = str(value)
        fresh = self.state.with_suffix(".new")
        fresh.write_text("".join(f"{key}={value}\n" for key, value in self.values.items()))
        fresh.replace(self.state)

    def add(self, index: int, name: str = "NVIDIA H200") -> None:
        """A healthy GPU that is busy with half of its power."""
        sensors: dict[str, object] = {
            "name": name, "uuid": f"GPU-{index:08x}-0000-0000-0000-000000000000", "utilization": 50, "memory_utilization": 25,
            "memory_total": 140 * GIB, "memory_used": 35 * GIB, "power": 350_000, "power_limit": 700_000, "energy": 5_000_000,
            "temperature": 55, "memory_temperature": 65, "sm_clock": 1980, "memory_clock": 3201, "fan": 30, "throttle": 4,
            "ecc_corrected": 1, "ecc_uncorrected": 0, "pcie_tx": 1000, "pcie_rx": 2000, "nvlinks": 2, "nvlink_tx": 100, "nvlink_rx": 200,
            "xid": 0,
        }  # fmt: skip
        self.set(**{f"gpu{index}_{sensor}": value for sensor, value in sensors.items()}, count=index + 1)

    @property
    def environment(self) -> dict[str, str]:
        """Of a process that is to see these devices."""
        paths = [str(self.folder), *os.environ.get("LD_LIBRARY_PATH", "").split(":")]
        return {"LD_LIBRARY_PATH": ":".join(path for path in paths if path), "GSWARM_NVML_STUB": str(self.state)}


def make_gpus(library: Path, folder: Path, count: int = 1) -> Gpus:
    gpus = Gpus(library.parent, folder / "nvml.state")
    for index in range(count):
        gpus.add(index)
    return gpus
