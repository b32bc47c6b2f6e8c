"""Configuration: file before variables before flags, unknown keys refused, the example complete."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from gswarm.domain.config import CONFIG_KEYS, VARIABLES, Config, load, render_example
from gswarm.domain.errors import InvalidInputError
from gswarm.search.yaml_file import load_yaml

ROOT = Path(__file__).parents[2]


def field_paths(owner: Any, path: str = "") -> set[str]:
    found: set[str] = set()
    for item in dataclasses.fields(owner):
        value = getattr(owner, item.name)
        place = f"{path}.{item.name}" if path else item.name
        found |= field_paths(value, place) if dataclasses.is_dataclass(value) else {place}
    return found


def leaves(value: Any, path: str = "") -> set[str]:
    if isinstance(value, dict) and value:
        return {leaf for name, item in value.items() for leaf in leaves(item, f"{path}.{name}" if path else name)}
    return {path}


def problem(*args: Any) -> str:
    with pytest.raises(InvalidInputError) as caught:
        load(*args)
    return str(caught.value)


def test_nothing_given_is_the_defaults() -> None:
    config = load()
    assert config == Config()
    assert (config.host.bind, config.host.port, config.host.http_port, config.host.pool_port) == ("127.0.0.1", 8090, 8091, 8092)
    assert (config.host.lease_timeout_s, config.host.undo_window_s) == (15.0, 600.0)
    assert config.client.step_deadline_s == 600.0


def test_the_table_has_every_field() -> None:
    assert set(CONFIG_KEYS) == field_paths(Config())
    assert len(VARIABLES) == len(CONFIG_KEYS), "no two keys share a variable"


def test_every_key_is_read_somewhere() -> None:
    """A key that nobody reads is a promise that nobody keeps."""
    read: set[str] = set()
    for path in (ROOT / "src" / "gswarm").rglob("*.py"):
        if path.name != "config.py":
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            read |= {node.attr for node in nodes if isinstance(node, ast.Attribute) and "config" in ast.unparse(node.value)}
    assert {path.rpartition(".")[2] for path in CONFIG_KEYS} <= read


def test_the_example_lists_every_key_with_its_default() -> None:
    text = (ROOT / "config.yaml.example").read_text()
    assert text == render_example(), "run: python -m gswarm.domain.config > config.yaml.example"
    loaded = load_yaml(text)
    assert leaves(loaded) == set(CONFIG_KEYS)
    assert load(loaded) == Config()
    for path, key in CONFIG_KEYS.items():
        line = next(line for line in text.splitlines() if line.strip().startswith(f"{key.name}:"))
        assert key.about.split(";")[0].split(":")[0][:10] in text, path
        assert not key.unit or any(f"[{key.unit}]" in other for other in text.splitlines() if f"{key.name}:" in other), line


def test_file_then_variables_then_flags() -> None:
    file = {"host": {"port": 1001, "http_port": 1002, "bind": "10.0.0.1", "limits": {"max_clients": 7}}, "client": {"slots": "cpu:1"}}
    env = {"GSWARM_HOST_HTTP_PORT": "2002", "GSWARM_HOST_PORT": "2001", "GSWARM_CLIENT_RESILIENT": "true", "PATH": "/bin"}
    config = load(file, env, {"host.port": 3001, "client.slots": None, "host.bind": None})
    assert (config.host.port, config.host.http_port, config.host.bind) == (3001, 2002, "10.0.0.1")
    assert config.host.limits.max_clients == 7
    assert config.client.slots == "cpu:1"
    assert config.client.resilient is True


def test_the_command_lines_own_variables_are_passed_over() -> None:
    env = {"GSWARM_HOST": "https://x:8091", "GSWARM_TOKEN": "t", "GSWARM_HOME_SCREEN": "1", "GSWARM_HOST_PORT": " "}
    assert load(None, env) == Config()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (({"host": {"prot": 1}},), "host.prot: unknown key; did you mean port?"),
        (({"hots": {}},), "hots: unknown key; did you mean host?"),
        (({"host": {"limits": {"max_client": 1}}},), "host.limits.max_client: unknown key; did you mean max_clients?"),
        (({"host": {"port": 70000}},), "host.port: must be at most 65535"),
        (({"host": {"lease_timeout_s": 0}},), "host.lease_timeout_s: must be at least 1"),
        (({"host": {"log_format": "xml"}},), "xml is not one of text, json"),
        (({"host": 5},), "host: must be a mapping"),
        (([],), "must be a mapping"),
        (({"host": {"http_port": 8090}},), "host.http_port: is 8090, and so is host.port"),
        (({"host": {"http_tls": {"cert_file": "a.pem"}}},), "cert_file and key_file belong together"),
        ((None, {"GSWARM_HOST_PROT": "1"}), "GSWARM_HOST_PROT: unknown variable; did you mean GSWARM_HOST_PORT?"),
        ((None, {"GSWARM_CLIENT_SLOTS_PER_GPU": "x"}), "GSWARM_CLIENT_SLOTS_PER_GPU: must be an integer, not x"),
        ((None, {}, {"host.prot": 1}), "host.prot: unknown key; did you mean host.port?"),
        (({"client": {"labels": {"a b": "c"}}},), "client.labels: a b is not a name"),
        (({"client": {"labels": ["zone"]}},), "client.labels: zone must be one line"),
    ],
)
def test_what_cannot_be_is_refused(args: tuple[Any, ...], says: str) -> None:
    assert says in problem(*args)


def test_several_problems_are_listed_together() -> None:
    message = problem({"host": {"prot": 1, "port": "x"}}, {"GSWARM_HOST_BNID": "1"})
    assert message.startswith("3 problems:")


@pytest.mark.parametrize("labels", [{"zone": "a", "disk": "nvme"}, "zone=a,disk=nvme", ["zone=a", "disk=nvme"], ("zone=a", "disk=nvme")])
def test_labels_in_every_form(labels: object) -> None:
    assert load(None, None, {"client.labels": labels}).client.labels == (("zone", "a"), ("disk", "nvme"))


def test_any_free_port_may_be_asked_for_several_times() -> None:
    host = load({"host": {"port": 0, "http_port": 0, "pool_port": 0}}).host
    assert (host.port, host.pool_port) == (0, 0)
