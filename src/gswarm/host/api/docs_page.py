"""``/docs``: the OpenAPI document as a page without scripts, so that it works under the strictest policy and without a network."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #222; background: #fff }
h2 { margin-top: 2rem; border-bottom: 1px solid #ccc }
code, .method { font-family: ui-monospace, monospace }
.method { display: inline-block; min-width: 4.5em; font-weight: 600 }
.role { color: #666; margin-left: 1em }
dl { margin: 0 0 1rem 5em }
dt { font-family: ui-monospace, monospace }
dd { margin: 0 0 .3rem 1.5em; color: #444 }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818 } dd, .role { color: #aaa } }
"""


def docs_page(document: dict[str, Any], roles: dict[tuple[str, str], str]) -> str:
    """HTML of an OpenAPI document.

    Args:
        roles: by (method, path as in the document).
    """
    info = document["info"]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>gswarm API</title>",
        '<meta name=viewport content="width=device-width"><link rel=stylesheet href="/docs.css">',
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{_text(info.get('description', ''))}</p>",
        '<p>The same for programs: <a href="/openapi.json">/openapi.json</a></p>',
    ]
    tag = None
    for path, method, operation in _operations(document):
        if operation["tags"][0] != tag:
            tag = operation["tags"][0]
            parts.append(f"<h2>{escape(tag)}</h2>")
        parts.append(_operation(path, method, operation, roles.get((method, path), "")))
    return "\n".join(parts) + "\n"


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method.upper(), operation


def _operation(path: str, method: str, operation: dict[str, Any], role: str) -> str:
    lines = [f"<p><span class=method>{method}</span> <code>{escape(path)}</code><span class=role>{escape(role)}</span><br>"]
    lines.append(_text(operation.get("description", "")) + "</p><dl>")
    for parameter in operation.get("parameters", ()):
        about = parameter.get("description") or parameter.get("schema", {}).get("description", "")
        lines.append(f"<dt>{escape(parameter['name'])} <small>({escape(parameter['in'])})</small></dt><dd>{_text(about)}</dd>")
    for media, body in operation.get("requestBody", {}).get("content", {}).items():
        lines.append(f"<dt>body <small>({escape(media)})</small></dt><dd><code>{escape(_schema(body.get('schema', {})))}</code></dd>")
    for status, answer in operation.get("responses", {}).items():
        schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
        lines.append(f"<dt>{escape(status)}</dt><dd>{_text(answer.get('description', ''))} <code>{escape(_schema(schema))}</code></dd>")
    return "\n".join([*lines, "</dl>"])


def _schema(schema: dict[str, Any]) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2] or str(schema.get("type", ""))


def _text(markdown: str) -> str:
    """Text with its `code` marked."""
    pieces = escape(markdown).replace("``", "`").split("`")
    return "".join(f"<code>{piece}</code>" if index % 2 else piece for index, piece in enumerate(pieces))
