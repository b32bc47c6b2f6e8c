"""Machines in network namespaces of their own, joined by a bridge, whose links can lose, delay, thin out or cut what passes.

Nothing outside the namespaces is touched; their names and addresses are this process's own. The test's thread stands in the host's
namespace, so that the host's loopback is its own.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from armed_cluster import HOST, ArmedCluster

CLONE_NEWNET = 0x40000000
HOST_NAME = "gswarm-host"
RANDOM = 0xFFFFF000 + 56
"""Where a packet filter reads a random number (SKF_AD_OFF + SKF_AD_RANDOM)."""
LOAD, JUMP_GREATER_EQUAL, RETURN = 0x20, 0x35, 0x06
PASS, DROP = 0, 2


def ip(*arguments: str) -> None:
    run("ip", *arguments)


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (
        f"{' '.join(command)}: {done.stderr.strip()}\nThe tests of networks make network namespaces. Run them as root with CAP_NET_ADMIN "
        "and CAP_SYS_ADMIN, with iproute2 installed."
    )


@dataclass(slots=True)
class Machine:
    """A namespace with one link to the bridge."""

    name: str
    namespace: str
    address: str

    def command(self, *command: str) -> list[str]:
        return ["ip", "netns", "exec", self.namespace, *command]

    def move(self, address: str) -> None:
        """Another address on the same network. Connections from the old one are not told: their packets have nowhere to go."""
        ip("-n", self.namespace, "addr", "del", f"{self.address}/24", "dev", "eth0")
        ip("-n", self.namespace, "addr", "add", f"{address}/24", "dev", "eth0")
        self.address = address

    def unplug(self) -> None:
        ip("-n", self.namespace, "link", "set", "eth0", "down")

    def plug_in(self) -> None:
        ip("-n", self.namespace, "link", "set", "eth0", "up")

    def lose(self, share: float, direction: str) -> None:
        """``ingress`` (what it is sent) or ``egress`` (what it sends): that share of the packets is dropped at random; 1 is all."""
        bound = min(round(share * 2**32), 2**32 - 1)
        steps = [(LOAD, 0, 0, RANDOM), (JUMP_GREATER_EQUAL, 0, 1, bound), (RETURN, 0, 0, PASS), (RETURN, 0, 0, DROP)]
        code = steps if share < 1 else [(RETURN, 0, 0, DROP)]
        program = f"{len(code)}," + ",".join(" ".join(map(str, step)) for step in code)
        run("tc", "-n", self.namespace, "filter", "add", "dev", "eth0", direction, "prio", "1", "bpf", "da", "bytecode", program)

    def lose_nothing(self, direction: str) -> None:
        run("tc", "-n", self.namespace, "filter", "del", "dev", "eth0", direction, "prio", "1")

    def thin_out(self, rate: str) -> None:
        """What it sends queues behind a thin line; what does not fit into a short queue is dropped, as a modem does."""
        run("tc", "-n", self.namespace, "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", rate, "burst", "16kb", "latency", "200ms")

    def call(self, name: str, address: str) -> None:
        """The machine knows ``name`` as ``address`` from now on, as when the name service has been told."""
        hosts = self._etc / "hosts"
        hosts.write_text(f"127.0.0.1 localhost\n{address} {name}\n")

    @property
    def _etc(self) -> Path:
        """``ip netns exec`` mounts the files there over those of ``/etc``."""
        return Path("/etc/netns") / self.namespace


@dataclass
class Network:
    """A bridge and the machines at it, 10.213.N.0/24."""

    number: int
    machines: dict[str, Machine] = field(default_factory=dict)

    @property
    def bridge(self) -> str:
        return f"gsf{self.number}-net"

    def address(self, place: int) -> str:
        return f"10.213.{self.number % 250}.{place}"

    def add(self, name: str) -> Machine:
        machine = Machine(name, f"gsf{self.number}-{name}", self.address(len(self.machines) + 10))
        etc = Path("/etc/netns") / machine.namespace
        etc.mkdir(parents=True)
        self.machines[name] = machine
        ip("netns", "add", machine.namespace)
        peer = f"port{len(self.machines)}"
        ip("-n", self.bridge, "link", "add", peer, "type", "veth", "peer", "name", "eth0", "netns", machine.namespace)
        ip("-n", self.bridge, "link", "set", peer, "master", "bridge", "up")
        ip("-n", machine.namespace, "addr", "add", f"{machine.address}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            ip("-n", machine.namespace, "link", "set", link, "up")
        run("tc", "-n", machine.namespace, "qdisc", "add", "dev", "eth0", "clsact")
        return machine

    def remove(self) -> None:
        for machine in self.machines.values():
            subprocess.run(["ip", "netns", "del", machine.namespace], check=False, capture_output=True)
            etc = Path("/etc/netns") / machine.namespace
            (etc / "hosts").unlink(missing_ok=True)
            etc.rmdir()
        subprocess.run(["ip", "netns", "del", self.bridge], check=False, capture_output=True)


@contextmanager
def network() -> Iterator[Network]:
    made = Network(os.getpid())
    ip("netns", "add", made.bridge)
    try:
        ip("-n", made.bridge, "link", "add", "bridge", "type", "bridge")
        ip("-n", made.bridge, "link", "set", "bridge", "up")
        yield made
    finally:
        made.remove()


@contextmanager
def standing_in(machine: Machine) -> Iterator[None]:
    """This thread's new sockets, and the processes that it starts, are in the machine's namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open("rb") as home, (Path("/run/netns") / machine.namespace).open("rb") as there:
        for place in (there, home):
            if libc.setns(place.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            if place is there:
                try:
                    yield
                except BaseException:
                    libc.setns(home.fileno(), CLONE_NEWNET)
                    raise


@dataclass
class NetCluster(ArmedCluster):
    """The host and each client on machines of their own. Clients know the host by name."""

    net: Network = field(kw_only=True)
    reached_at: dict[str, str] = field(default_factory=dict)
    """For a client that reaches the host elsewhere, for example through a proxy: at which name or address."""

    def command(self, lane: str, *args: str) -> list[str]:
        if lane == HOST:
            args = (*args, "--bind", "0.0.0.0")
        else:
            place = args.index("connect") + 1
            args = (*args[:place], f"{self.reached_at.get(lane, HOST_NAME)}:{self.port}", *args[place + 1 :])
        return self.net.machines[lane].command(*super().command(lane, *args))
