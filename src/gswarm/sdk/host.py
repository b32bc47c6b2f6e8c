"""A gswarm host as a Python object. Answers are the REST API's JSON documents (the ``*models`` of ``gswarm.host.api`` describe them)."""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import httpx
from blake3 import blake3

from gswarm.datapool.tree import check_names, path_below
from gswarm.domain.errors import CorruptDataError, GswarmError
from gswarm.domain.parse import experiment_to_dict
from gswarm.sdk.plan import read_file
from gswarm.sdk.transport import Json, Transport

EVENTS_GIVE_UP_S = 60.0

About = Mapping[str, str | None]
"""What events are asked for, by names and ids; None leaves it open."""


class Host:
    """Thin methods, one a route. Every one raises the types of ``gswarm.domain.errors``. A context manager."""

    def __init__(
        self, url: str, token: str, ca: Path | None = None, *, grpc_address: str = "", http: httpx.BaseTransport | None = None
    ) -> None:
        """See ``Transport`` for the arguments; ``grpc_address`` is where clients connect, if known."""
        self._transport = Transport(url, token, ca, http)
        self.url = self._transport.url
        self.grpc_address = grpc_address

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._transport.close()

    # ---- the host itself ---------------------------------------------------------------------------------------------

    def health(self) -> Json:
        return self._get("/health")

    def ready(self) -> Json:
        return self._get("/ready")

    def status(self) -> Json:
        """Journal, disks, clients and open leases of the host."""
        return self._get("/host")

    def whoami(self) -> Json:
        return self._get("/auth/whoami")

    def create_token(self, role: str, ttl_s: float | None = None, uses: int | None = None, client: str | None = None) -> Json:
        """A new token; its ``token`` field is shown this once. ``client``: the one name that a machine may join under with it."""
        return self._post("/tokens", {"role": role, "ttl_s": ttl_s, "uses": uses, "client": client})

    def tokens(self) -> list[Json]:
        return self._transport.items("/tokens")

    def revoke_token(self, token_id: str) -> Json:
        return self._transport.call("DELETE", f"/tokens/{_part(token_id)}")

    def audit(self, kind: str = "writes", limit: int = 1000) -> list[Json]:
        """Who changed what (``writes``), or who was not let in and what was refused (``refusals``): the newest ``limit``, newest first."""
        return self._newest("/audit", limit, kind=kind)

    def events(self, after: int | None = None, give_up_after_s: float = EVENTS_GIVE_UP_S, about: About | None = None) -> Iterator[Json]:
        """What happens from now on, or after event ``after``; goes on by itself when the connection or the host comes back.

        Args:
            about: only events that are about all of these: ``experiment``, ``run``, ``client``, ``job``.
        """
        start = after if after is not None else int(self.ready()["seq"])
        return self._transport.stream("/events", _given(**(about or {})), start, give_up_after_s)

    def past_events(self, limit: int, about: About | None = None) -> list[Json]:
        """What happened, the newest first, of all that the journal keeps: at most ``limit`` events.

        Args:
            about: only events that are about all of these: ``experiment``, ``run``, ``client``, ``job``.
        """
        return self._newest("/events/past", limit, **_given(**(about or {})))

    def alerts(self) -> list[Json]:
        """What is wrong, the worst first, then what was over in the last hour: those with ``until``."""
        items: list[Json] = self._get("/alerts")["items"]
        return items

    # ---- experiments -------------------------------------------------------------------------------------------------

    def submit(self, experiment: str | os.PathLike[str] | Json, name: str | None = None, request_id: str | None = None) -> Json:
        """Submits an experiment: the path of a YAML file, or the same as a dictionary. ``name`` takes the place of its own.

        Relative paths in a file are meant from its folder.
        """
        return self._transport.call("POST", "/experiments", request_id=request_id, **_body(experiment, name))

    def validate(self, experiment: str | os.PathLike[str] | Json, name: str | None = None) -> Json:
        """What submitting would do: canonical form, notes, the expanded runs."""
        return self._transport.call("POST", "/experiments/validate", **_body(experiment, name))

    def experiments(self) -> list[Json]:
        """The newest first."""
        return self._transport.items("/experiments")

    def experiment(self, ref: str) -> Json:
        return self._get(f"/experiments/{_part(ref)}")

    def experiment_runs(self, ref: str) -> list[Json]:
        return self._transport.items(f"/experiments/{_part(ref)}/runs")

    def results(self, ref: str, metric: str | None = None) -> list[Json]:
        """The leaderboard's rows, best first."""
        rows: list[Json] = self.leaderboard(ref, metric)["rows"]
        return rows

    def leaderboard(self, ref: str, metric: str | None = None) -> Json:
        """Rows and the metric they are sorted by."""
        return self._get(f"/experiments/{_part(ref)}/results", metric=metric)

    def importance(self, ref: str) -> Json:
        """Which parameters made the difference between the runs."""
        return self._get(f"/experiments/{_part(ref)}/importance")

    def explain_experiment(self, ref: str) -> Json:
        return self._get(f"/experiments/{_part(ref)}/explain")

    def timeline(self, ref: str) -> Json:
        return self._get(f"/experiments/{_part(ref)}/timeline")

    def stop_experiment(self, ref: str, request_id: str | None = None) -> Json:
        return self._post(f"/experiments/{_part(ref)}/stop", request_id=request_id)

    def resume_experiment(self, ref: str, request_id: str | None = None) -> Json:
        return self._post(f"/experiments/{_part(ref)}/resume", request_id=request_id)

    def restore_experiment(self, ref: str, request_id: str | None = None) -> Json:
        return self._post(f"/experiments/{_part(ref)}/restore", request_id=request_id)

    def delete_experiment(self, ref: str, request_id: str | None = None) -> Json:
        return self._transport.call("DELETE", f"/experiments/{_part(ref)}", request_id=request_id)

    # ---- runs --------------------------------------------------------------------------------------------------------

    def runs(self, experiment: str | None = None, states: tuple[str, ...] = ()) -> list[Json]:
        """Without ``states`` all but deleted ones."""
        return self._transport.items("/runs", **_given(experiment=experiment, state=list(states) or None))

    def run(self, ref: str) -> Json:
        return self._get(f"/runs/{_part(ref)}")

    def stop_run(self, ref: str, request_id: str | None = None) -> Json:
        return self._post(f"/runs/{_part(ref)}/stop", request_id=request_id)

    def resume_run(self, ref: str, request_id: str | None = None) -> Json:
        return self._post(f"/runs/{_part(ref)}/resume", request_id=request_id)

    def restore_run(self, ref: str, request_id: str | None = None) -> Json:
        return self._post(f"/runs/{_part(ref)}/restore", request_id=request_id)

    def delete_run(self, ref: str, request_id: str | None = None) -> Json:
        return self._transport.call("DELETE", f"/runs/{_part(ref)}", request_id=request_id)

    def clone_run(self, ref: str, changes: Json | None = None, warm_start: str | int | None = None, request_id: str | None = None) -> Json:
        """A new run with ``changes``; ``warm_start`` is ``latest``, ``best``, a step, or ``None`` for a cold clone."""
        return self._post(f"/runs/{_part(ref)}/clone", {"set": changes or {}, "warm_start": warm_start}, request_id=request_id)

    def verify_run(self, ref: str) -> Json:
        """Starts the job; see ``wait_for_job``."""
        return self._post(f"/runs/{_part(ref)}/verify")

    def export_run(self, ref: str, format: str = "adapter", checkpoint: str | int = "best") -> Json:
        """Starts the job; see ``wait_for_job`` and ``download``."""
        return self._post(f"/runs/{_part(ref)}/export", {"format": format, "checkpoint": checkpoint})

    def metrics(self, ref: str, names: tuple[str, ...] = (), points: int | None = None) -> Json:
        return self._get(f"/runs/{_part(ref)}/metrics", metric=list(names) or None, points=points)

    def logs(self, ref: str, after_line: int = 0, limit: int = 1000) -> Json:
        return self._get(f"/runs/{_part(ref)}/logs", after_line=after_line, limit=limit)

    def follow_logs(self, ref: str, after_line: int = 0) -> Iterator[Json]:
        """Lines as they are written."""
        return self._transport.stream(f"/runs/{_part(ref)}/logs", {"follow": "true"}, after_line, EVENTS_GIVE_UP_S)

    def checkpoints(self, ref: str) -> list[Json]:
        items: list[Json] = self._get(f"/runs/{_part(ref)}/checkpoints")["items"]
        return items

    def explain(self, ref: str) -> Json:
        return self._get(f"/runs/{_part(ref)}/explain")

    # ---- clients -----------------------------------------------------------------------------------------------------

    def clients(self) -> list[Json]:
        return self._transport.items("/clients")

    def client(self, name: str) -> Json:
        return self._get(f"/clients/{_part(name)}")

    def profiler_metrics(self) -> list[Json]:
        """Everything that can be measured, with units."""
        found: list[Json] = self._get("/profiler/metrics")["items"]
        return found

    def profiler_devices(self) -> list[Json]:
        """Every device that clients have described, with the processes that use it."""
        found: list[Json] = self._get("/profiler/devices")["items"]
        return found

    def profiler_latest(self, metrics: Sequence[str] = ()) -> Json:
        """The newest values, of all metrics or of these."""
        return self._get("/profiler/latest", metric=list(metrics) or None)

    def profiler_query(self, metrics: Sequence[str], from_s: float = -300.0, to_s: float = 0.0, **options: Any) -> Json:
        """Lines of a chart. ``from_s`` and ``to_s`` are seconds since the epoch, or negative: before now.

        Args:
            options: ``clients``, ``gpus`` and ``runs`` (names with commas between them), ``points``, ``aggregate``, ``by``.
        """
        return self._get("/profiler/query", **{"metric": list(metrics), "from": from_s, "to": to_s, **options})

    def profiler_annotations(self, from_s: float = -300.0, to_s: float = 0.0) -> list[Json]:
        """Operations, checkpoints, evaluations, failures and clients that came and went."""
        found: list[Json] = self._get("/profiler/annotations", **{"from": from_s, "to": to_s})["items"]
        return found

    def profiler_sessions(self) -> list[Json]:
        """The newest first."""
        found: list[Json] = self._get("/profiler/sessions")["items"]
        return found

    def profiler_session(self, name: str) -> Json:
        return self._get(f"/profiler/sessions/{_part(name)}")

    def start_profiler(
        self,
        name: str,
        interval_s: float = 1.0,
        metrics: Sequence[str] = (),
        clients: Sequence[str] = (),
        request_id: str | None = None,
        metric_intervals_s: Mapping[str, float] | None = None,
    ) -> Json:
        """Begins a session; without ``metrics`` and ``clients`` it is about all. ``metric_intervals_s`` are of single metrics."""
        body: Json = {"name": name, "interval_s": interval_s, "metrics": list(metrics) or None, "clients": list(clients) or None}
        if metric_intervals_s:
            body["metric_intervals_s"] = dict(metric_intervals_s)
        return self._post("/profiler/sessions", body, request_id=request_id)

    def stop_profiler(self, name: str, request_id: str | None = None) -> Json:
        return self._post(f"/profiler/sessions/{_part(name)}/stop", request_id=request_id)

    def delete_profiler_session(self, name: str, request_id: str | None = None) -> Json:
        return self._transport.call("DELETE", f"/profiler/sessions/{_part(name)}", request_id=request_id)

    def profiler_summary(self, name: str) -> Json:
        """What each run used, and when slots trained nothing."""
        return self._get(f"/profiler/sessions/{_part(name)}/summary")

    def export_profiler_session(self, name: str, format: str = "csv") -> Iterator[bytes]:
        """The bytes of an export: ``csv``, ``parquet``, ``json`` or ``html``."""
        return self._transport.download(f"/profiler/sessions/{_part(name)}/export?format={_part(format)}")

    def drain_client(self, name: str) -> Json:
        return self._post(f"/clients/{_part(name)}/drain")

    def resume_client(self, name: str) -> Json:
        return self._post(f"/clients/{_part(name)}/resume")

    def disconnect_client(self, name: str) -> Json:
        return self._post(f"/clients/{_part(name)}/disconnect")

    def revoke_client(self, name: str) -> Json:
        """Ends its certificate for good and cuts what it is doing."""
        return self._post(f"/clients/{_part(name)}/revoke")

    # ---- jobs and files ----------------------------------------------------------------------------------------------

    def jobs(self) -> list[Json]:
        return self._transport.items("/queue")

    def job(self, job_id: str) -> Json:
        return self._get(f"/queue/{_part(job_id)}")

    def wait_for_job(self, job_id: str) -> Json:
        """The job once it has ended, well or badly."""
        after = int(self.ready()["seq"])
        job = self.job(job_id)
        if job["state"] in ("done", "failed"):
            return job
        for event in self.events(after):
            if event["type"] == "job_finished" and event["ids"].get("job") == job_id:
                job = self.job(job_id)
                if job["state"] in ("done", "failed"):
                    return job
        raise GswarmError(f"the host ended the event stream before job {job_id} did", "ask again")

    def files(self, manifest: str) -> list[Json]:
        """Name, digest and size of a manifest's files in the host's pool."""
        files: list[Json] = self._get(f"/pool/{_part(manifest)}/files")["files"]
        return files

    def download(self, manifest: str, to: Path) -> list[Path]:
        """Writes a manifest's files under the folder ``to``, each checked against its digest.

        Raises:
            CorruptDataError: a file's bytes are not what its digest names; that file is not written.
            InvalidInputError: a name leads out of the folder; nothing is written.
        """
        written = []
        files = self.files(manifest)
        check_names([file["name"] for file in files])
        for file in files:
            name = str(file["name"])
            target = path_below(to, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            self._download_file(f"/pool/{_part(manifest)}/files/{quote(name)}", target, str(file["digest"]))
            written.append(target)
        return written

    def _download_file(self, path: str, target: Path, digest: str) -> None:
        # Whatever lies there already under that name, a link above all, is neither followed nor overwritten.
        partial = target.with_name(f".{secrets.token_hex(8)}.part")
        hasher = blake3()
        try:
            with partial.open("xb") as out:
                for piece in self._transport.download(path):
                    hasher.update(piece)
                    out.write(piece)
            if hasher.hexdigest() != digest:
                raise CorruptDataError(f"{target.name} arrived damaged", "try again")
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    def _get(self, path: str, **params: Any) -> Json:
        return self._transport.call("GET", path, params=_given(**params))

    def _newest(self, path: str, limit: int, **params: Any) -> list[Json]:
        return list(itertools.islice(self._transport.each(path, min(limit, 500), **params), limit))

    def _post(self, path: str, body: Json | None = None, request_id: str | None = None) -> Json:
        return self._transport.call("POST", path, request_id=request_id, **({} if body is None else {"json": body}))


def _part(text: str) -> str:
    return quote(text, safe="")


def _given(**params: Any) -> Json:
    return {name: value for name, value in params.items() if value is not None}


def _body(experiment: str | os.PathLike[str] | Json, name: str | None) -> Json:
    if isinstance(experiment, dict):
        return {"json": experiment, "params": _given(name=name)}
    return {"json": experiment_to_dict(read_file(Path(experiment), name).spec)}
