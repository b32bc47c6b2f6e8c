"""Configuration of host and client: a file, then ``GSWARM_*`` variables, then flags, each before the one ahead of it.

``config.yaml.example`` is ``render_example()``, so it always lists every key.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gswarm.domain.alert_config import ALERT_KEYS, AlertConfig, check_alerts
from gswarm.domain.errors import InvalidInputError
from gswarm.domain.messages import TRUSTED_CODE_MAX
from gswarm.domain.values import Key, Kind, Problems, entries, join, nearest, read_value, to_plain, unknown_key

VARIABLE_PREFIX = "GSWARM_"
_OWN_PREFIXES = ("GSWARM_HOST_", "GSWARM_CLIENT_")
"""Variables that begin so must be known; others, such as ``GSWARM_HOST`` and ``GSWARM_TOKEN``, are the command line's own."""
MAX_VARIABLE_CHARS = 80
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MIB = 1024 * 1024
_GIB = 1024 * _MIB
_BYTES_MAX = 2**62
_SECONDS_MAX = 10 * 366 * 86400


@dataclass(frozen=True, slots=True)
class HttpTls:
    """Both or none; none means the host's own certificate."""

    cert_file: str | None = None
    key_file: str | None = None


@dataclass(frozen=True, slots=True)
class HostLimits:
    max_clients: int = 2000
    max_request_bytes: int = 1_000_000
    max_queued_events: int = 10_000


@dataclass(frozen=True, slots=True)
class ProfilerConfig:
    raw_retention_s: float = 7 * 86400.0
    rollup_10s_retention_s: float = 60 * 86400.0
    rollup_5min_retention_s: float = 731 * 86400.0
    disk_bytes_max: int = 20 * _GIB
    memory_bytes_max: int = 256 * _MIB


@dataclass(frozen=True, slots=True)
class HostConfig:
    bind: str = "127.0.0.1"
    port: int = 8090
    http_port: int = 8091
    pool_port: int = 8092
    allowed_names: tuple[str, ...] = ()
    data_dir: str = "~/.gswarm"
    lease_timeout_s: float = 15.0
    client_certificate_ttl_s: float = 7 * 86400.0
    undo_window_s: float = 600.0
    trusted_code: tuple[str, ...] = ()
    snapshot_every_events: int = 2000
    log_level: str = "info"
    log_format: str = "text"
    http_tls: HttpTls = HttpTls()
    limits: HostLimits = HostLimits()
    profiler: ProfilerConfig = ProfilerConfig()
    alerts: AlertConfig = AlertConfig()  # noqa: RUF009 - frozen, in another file


@dataclass(frozen=True, slots=True)
class ClientConfig:
    host: str | None = None
    name: str | None = None
    slots: str = "auto"
    slots_per_gpu: int = 1
    labels: tuple[tuple[str, str], ...] = ()
    data_dir: str = "~/.gswarm"
    cache_budget_bytes: int = 50 * _GIB
    pool_bind: str | None = None
    pool_port: int = 0
    step_deadline_s: float = 600.0
    spool_budget_bytes: int = _GIB
    outsider_policy: str = "ignore"
    resilient: bool = False
    log_level: str = "info"
    log_format: str = "text"


@dataclass(frozen=True, slots=True)
class Config:
    host: HostConfig = HostConfig()
    client: ClientConfig = ClientConfig()


def _port(name: str, about: str) -> Key:
    return Key(name, Kind.INT, f"{about}; 0 means any free one.", unit="port", low=0, high=65535)


def _count(name: str, about: str, unit: str = "", high: int = 10**9) -> Key:
    return Key(name, Kind.INT, about, unit=unit, low=1, high=high)


def _retention(name: str, about: str) -> Key:
    return Key(name, Kind.FLOAT, about, unit="seconds", low=3600, high=_SECONDS_MAX)


_LOG_KEYS = (
    Key("log_level", Kind.TEXT, "Least important messages that are logged.", choices=("debug", "info", "warning", "error")),
    Key("log_format", Kind.TEXT, "For people, or one JSON object a line.", choices=("text", "json")),
)
_SECTIONS: dict[str, tuple[Key, ...]] = {
    "host": (
        Key("bind", Kind.TEXT, "Address that the host listens on; other machines reach it only on another one than loopback."),
        _port("port", "Where clients connect"),
        _port("http_port", "The REST API"),
        _port("pool_port", "Where clients fetch and leave blobs"),
        Key(
            "allowed_names",
            Kind.TEXTS,
            "More names under which the REST API may be called, as a browser shows them without the port (DNS rebinding).",
            may_be_empty=True,
        ),
        Key("data_dir", Kind.TEXT, "Journal, certificates, pool and logs."),
        Key("lease_timeout_s", Kind.FLOAT, "A client that is silent that long has lost its grants.", unit="seconds", low=1, high=86400),
        Key(
            "client_certificate_ttl_s",
            Kind.FLOAT,
            "A client's certificate lasts that long and is renewed after a third of it; a machine that is away for longer joins anew.",
            unit="seconds",
            low=60,
            high=90 * 86400,
        ),
        Key(
            "trusted_code",
            Kind.TEXTS,
            "Models' own code that may run: digests, as the refusal of such a model names them. Read the code before; none by default.",
            may_be_empty=True,
        ),
        Key(
            "undo_window_s",
            Kind.FLOAT,
            "A deleted run can be restored that long; a plan keeps the value that it began with.",
            unit="seconds",
            low=0,
            high=_SECONDS_MAX,
        ),
        _count("snapshot_every_events", "A snapshot of the plan, which makes a start faster, is written after so many.", unit="events"),
        *_LOG_KEYS,
    ),
    "host.http_tls": (
        Key("cert_file", Kind.TEXT, "Certificate of the HTTP port as PEM; null means the host's own.", optional=True),
        Key("key_file", Kind.TEXT, "Its key as PEM.", optional=True),
    ),
    "host.limits": (
        _count("max_clients", "Clients connected at the same time.", high=100_000),
        _count("max_request_bytes", "Largest body of an HTTP request.", unit="bytes", high=_BYTES_MAX),
        _count("max_queued_events", "Events that wait for the journal before callers are refused."),
    ),
    "host.profiler": (
        _retention("raw_retention_s", "Every single sample is kept that long."),
        _retention("rollup_10s_retention_s", "Minimum, maximum, mean and count of each 10 seconds are kept that long."),
        _retention("rollup_5min_retention_s", "The same of each 5 minutes."),
        Key(
            "disk_bytes_max",
            Kind.INT,
            "Disk for all of them; beyond it the oldest samples go first, then the oldest of 10 seconds, then of 5 minutes.",
            unit="bytes",
            low=256 * _MIB,
            high=_BYTES_MAX,
        ),
        Key(
            "memory_bytes_max",
            Kind.INT,
            "Memory for samples that are on disk, too, so that charts come fast; what is not yet in files comes on top.",
            unit="bytes",
            low=16 * _MIB,
            high=_BYTES_MAX,
        ),
    ),
    "host.alerts": ALERT_KEYS,
    "client": (
        Key("host", Kind.TEXT, "Host to connect to, as ADDRESS:PORT.", optional=True),
        Key("name", Kind.TEXT, "Name in the cluster; null means the machine's name.", optional=True),
        Key("slots", Kind.TEXT, "What trains here: auto, cpu:2, gpu:0,1."),
        _count("slots_per_gpu", "Runs that train on one GPU at once.", high=64),
        Key("labels", Kind.PAIRS, "Words of your own about this client.", may_be_empty=True),
        Key("data_dir", Kind.TEXT, "Certificate, pool and logs."),
        Key(
            "cache_budget_bytes",
            Kind.INT,
            "Disk for models, data and checkpoints that were fetched; what is in use stays in any case.",
            unit="bytes",
            low=64 * _MIB,
            high=_BYTES_MAX,
        ),
        Key("pool_bind", Kind.TEXT, "Address that its pool answers on; null means the one that reaches the host.", optional=True),
        _port("pool_port", "Where its pool answers"),
        Key(
            "step_deadline_s",
            Kind.FLOAT,
            "A step that takes longer, and 20 times as long as the one before it, counts as hung.",
            unit="seconds",
            low=1,
            high=_SECONDS_MAX,
        ),
        Key(
            "spool_budget_bytes",
            Kind.INT,
            "Disk for what sensors measured while the host is away; beyond it the oldest samples are lost.",
            unit="bytes",
            low=4 * _MIB,
            high=_BYTES_MAX,
        ),
        Key(
            "outsider_policy",
            Kind.TEXT,
            "Whether slots on GPUs that other people's processes use go on to get work, or avoid it until these have left.",
            choices=("ignore", "avoid"),
        ),
        Key("resilient", Kind.BOOL, "Reconnects for ever, and trains on meanwhile."),
        *_LOG_KEYS,
    ),
}
CONFIG_KEYS: dict[str, Key] = {join(section, key.name): key for section, keys in _SECTIONS.items() for key in keys}
"""By path, such as ``host.limits.max_clients``."""
VARIABLES: dict[str, str] = {VARIABLE_PREFIX + path.replace(".", "_").upper(): path for path in CONFIG_KEYS}
"""Paths by environment variable, such as ``GSWARM_HOST_LIMITS_MAX_CLIENTS``."""


def load(mapping: object = None, env: Mapping[str, str] | None = None, flags: Mapping[str, object] | None = None) -> Config:
    """The configuration: defaults, over them the file, over it the variables, over them the flags.

    Args:
        mapping: the loaded ``config.yaml``; ``None`` if there is none.
        env: environment variables; those that are not gswarm's are passed over.
        flags: values by path (``host.port``); ``None`` means that the flag was not given.

    Raises:
        InvalidInputError: naming every unknown key and every value that cannot be.
    """
    problems = Problems()
    values: dict[str, Any] = {}
    sources = (_from_file(mapping, "", problems), _from_variables(env or {}, problems), _from_flags(flags or {}, problems))
    for source in sources:
        for place, path, raw in source:
            try:
                values[path] = read_value(CONFIG_KEYS[path], raw)
            except InvalidInputError as error:
                problems.add_error(place, error)
    problems.raise_if_any()
    config = _build(values)
    _check(config, problems)
    problems.raise_if_any()
    return config


def render_example() -> str:
    """``config.yaml.example``: every key with its default, unit and purpose."""
    lines = [
        "# Every key of gswarm's configuration with its default. All may be left out; unknown keys are refused.",
        "# A variable goes before this file, a flag before both: host.port is GSWARM_HOST_PORT, host.limits.max_clients is",
        "# GSWARM_HOST_LIMITS_MAX_CLIENTS. ~ is the home folder of whoever starts gswarm.",
    ]
    defaults = Config()
    for section, keys in _SECTIONS.items():
        depth = section.count(".")
        lines += ["", "  " * depth + section.rsplit(".", 1)[-1] + ":"]
        for key in keys:
            unit = f" [{key.unit}]" if key.unit else ""
            choices = f" One of {', '.join(key.allowed)}." if key.allowed else ""
            lines.append(
                "  " * (depth + 1) + f"{key.name}: {_yaml_text(key, _default(defaults, section, key))}  # {key.about}{choices}{unit}"
            )
    return "\n".join(lines) + "\n"


def _from_file(raw: object, path: str, problems: Problems) -> Iterator[tuple[str, str, object]]:
    """Yields where it was found, the path, and the value as written; so do the other sources."""
    here = [known.rpartition(".")[2] for known in (*_SECTIONS, *CONFIG_KEYS) if known.rpartition(".")[0] == path]
    for name, item in entries(raw, path, problems):
        place = join(path, name)
        if place in _SECTIONS:
            yield from _from_file(item, place, problems)
        elif place not in CONFIG_KEYS:
            problems.add(place, unknown_key(name, here, problems))
        elif item is not None:
            yield place, place, item


def _from_variables(env: Mapping[str, str], problems: Problems) -> Iterator[tuple[str, str, object]]:
    for name in sorted(env):
        if name in VARIABLES:
            if env[name].strip():
                yield name, VARIABLES[name], env[name]
        elif name.startswith(_OWN_PREFIXES):
            problems.add(name, _unknown_variable(name))


def _unknown_variable(name: str) -> str:
    near = nearest(name, [variable.lower() for variable in VARIABLES]) if len(name) <= MAX_VARIABLE_CHARS else None
    return f"unknown variable; did you mean {near.upper()}?" if near else "unknown variable"


def _from_flags(flags: Mapping[str, object], problems: Problems) -> Iterator[tuple[str, str, object]]:
    for path, raw in flags.items():
        if path not in CONFIG_KEYS:
            problems.add(path, unknown_key(path, CONFIG_KEYS, problems))
        elif raw is not None:
            yield path, path, raw


def _build(values: Mapping[str, Any]) -> Config:
    def section(path: str) -> dict[str, Any]:
        return {key.name: values[join(path, key.name)] for key in _SECTIONS[path] if join(path, key.name) in values}

    host = HostConfig(
        **section("host"),
        http_tls=HttpTls(**section("host.http_tls")),
        limits=HostLimits(**section("host.limits")),
        profiler=ProfilerConfig(**section("host.profiler")),
        alerts=AlertConfig(**section("host.alerts")),
    )
    return Config(host=host, client=ClientConfig(**section("client")))


def _check(config: Config, problems: Problems) -> None:
    tls = config.host.http_tls
    if (tls.cert_file is None) != (tls.key_file is None):
        problems.add("host.http_tls", "cert_file and key_file belong together; give both or none")
    odd = [digest for digest in config.host.trusted_code if not _DIGEST.fullmatch(digest)]
    if odd:
        problems.add("host.trusted_code", f"{odd[0][:80]!r} is no digest; one has 64 lower-case hexadecimal digits")
    if len(config.host.trusted_code) > TRUSTED_CODE_MAX:
        problems.add("host.trusted_code", f"has more than {TRUSTED_CODE_MAX} digests; remove those that no run needs")
    check_alerts(config.host.alerts, problems)
    ports = ("port", "http_port", "pool_port")
    taken: dict[int, str] = {}
    for name in ports:
        number = getattr(config.host, name)
        if number and number in taken:
            problems.add(f"host.{name}", f"is {number}, and so is host.{taken[number]}; every port needs a number of its own")
        taken.setdefault(number, name)


def _default(config: Config, section: str, key: Key) -> object:
    owner: Any = config
    for name in section.split("."):
        owner = getattr(owner, name)
    return getattr(owner, key.name)


def _yaml_text(key: Key, value: object) -> str:
    if key.kind is Kind.PAIRS:
        return "{}"
    if key.kind is Kind.TEXTS:
        return "[]"
    plain = to_plain(value)
    if plain is None:
        return "null"
    return str(plain).lower() if isinstance(plain, bool) else str(plain)


if __name__ == "__main__":
    sys.stdout.write(render_example())
