"""The Python API: ``Host`` speaks REST to a gswarm host.

>>> from gswarm.sdk import local_host
>>> with local_host() as host:
...     experiment = host.submit("examples/quickstart.yaml")
...     for event in host.events():
...         print(event["text"])
"""

from __future__ import annotations

from gswarm.sdk.host import Host
from gswarm.sdk.local import Endpoint, local_host, read_endpoint
from gswarm.sdk.transport import Json

__all__ = ["Endpoint", "Host", "Json", "local_host", "read_endpoint"]
