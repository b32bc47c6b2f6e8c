"""The REST API: one table of routes, each with the role it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import BaseModel

from gswarm.host.api import (
    alerts,
    audit,
    clients,
    curves,
    events,
    experiments,
    login,
    models,
    pool,
    pool_overview,
    profiler,
    profiler_models,
    profiler_sessions,
    prometheus,
    queue,
    run_data,
    run_logs,
    runs,
    system,
    timeline,
    tokens,
    web,
)
from gswarm.host.api.docs_page import STYLE, docs_page
from gswarm.host.api.gate import Gate, Role
from gswarm.host.api.names import AllowedNames
from gswarm.host.api.problem import PAGE_POLICY, install_error_handlers
from gswarm.host.api.shield import Shield, rule
from gswarm.host.api.sse import EventStreams
from gswarm.host.services import HostServices

PREFIX = "/api/v1"


@dataclass(frozen=True, slots=True)
class ApiRoute:
    """A method on a path (below ``/api/v1``), who may call it, and what answers."""

    method: str
    path: str
    role: Role
    endpoint: Callable[..., Any]
    status: int = 200
    answer: type[BaseModel] | None = None
    """The model of the answer, where the endpoint's annotation is not enough."""
    is_write: bool | None = None
    """Whether the audit log has it; ``None`` goes by the method."""


ANYONE, VIEWER, OPERATOR, ADMIN = Role.ANYONE, Role.VIEWER, Role.OPERATOR, Role.ADMIN

ROUTES = (
    ApiRoute("GET", "/health", ANYONE, system.health),
    ApiRoute("GET", "/ready", VIEWER, system.ready),
    ApiRoute("GET", "/host", VIEWER, system.status),
    ApiRoute("POST", "/auth/login", ANYONE, login.log_in),
    ApiRoute("POST", "/auth/logout", VIEWER, login.log_out),
    ApiRoute("GET", "/auth/whoami", VIEWER, login.whoami),
    ApiRoute("GET", "/audit", ADMIN, audit.list_audit),
    ApiRoute("GET", "/events", VIEWER, events.events),
    ApiRoute("GET", "/events/past", VIEWER, events.past_events),
    ApiRoute("POST", "/experiments", OPERATOR, experiments.submit_experiment, 201),
    ApiRoute("POST", "/experiments/validate", VIEWER, experiments.validate_experiment, is_write=False),
    ApiRoute("GET", "/experiments", VIEWER, experiments.list_experiments),
    ApiRoute("GET", "/experiments/{experiment}", VIEWER, experiments.get_experiment),
    ApiRoute("GET", "/experiments/{experiment}/runs", VIEWER, experiments.experiment_runs),
    ApiRoute("GET", "/experiments/{experiment}/results", VIEWER, experiments.experiment_results),
    ApiRoute("GET", "/experiments/{experiment}/metrics", VIEWER, curves.experiment_metrics),
    ApiRoute("GET", "/experiments/{experiment}/importance", VIEWER, experiments.experiment_importance),
    ApiRoute("GET", "/experiments/{experiment}/timeline", VIEWER, experiments.experiment_timeline),
    ApiRoute("GET", "/experiments/{experiment}/explain", VIEWER, experiments.experiment_explain),
    ApiRoute("POST", "/experiments/{experiment}/stop", OPERATOR, experiments.stop_experiment),
    ApiRoute("POST", "/experiments/{experiment}/resume", OPERATOR, experiments.resume_experiment),
    ApiRoute("POST", "/experiments/{experiment}/restore", OPERATOR, experiments.restore_experiment),
    ApiRoute("DELETE", "/experiments/{experiment}", OPERATOR, experiments.delete_experiment),
    ApiRoute("GET", "/runs", VIEWER, runs.list_runs),
    ApiRoute("GET", "/runs/{run}", VIEWER, runs.get_run),
    ApiRoute("POST", "/runs/{run}/stop", OPERATOR, runs.stop_run),
    ApiRoute("POST", "/runs/{run}/resume", OPERATOR, runs.resume_run),
    ApiRoute("POST", "/runs/{run}/clone", OPERATOR, runs.clone_run, 201),
    ApiRoute("POST", "/runs/{run}/clone/validate", VIEWER, runs.validate_clone, is_write=False),
    ApiRoute("POST", "/runs/{run}/restore", OPERATOR, runs.restore_run),
    ApiRoute("DELETE", "/runs/{run}", OPERATOR, runs.delete_run),
    ApiRoute("POST", "/runs/{run}/verify", OPERATOR, runs.verify_run, 202),
    ApiRoute("POST", "/runs/{run}/export", OPERATOR, runs.export_run, 202),
    ApiRoute("GET", "/runs/{run}/metrics", VIEWER, run_data.run_metrics),
    ApiRoute("GET", "/runs/{run}/logs", VIEWER, run_logs.run_logs, answer=models.LogView),
    ApiRoute("GET", "/runs/{run}/checkpoints", VIEWER, run_data.run_checkpoints),
    ApiRoute("GET", "/runs/{run}/explain", VIEWER, run_data.run_explain),
    ApiRoute("GET", "/clients", VIEWER, clients.list_clients),
    ApiRoute("GET", "/clients/{name}", VIEWER, clients.get_client),
    ApiRoute("POST", "/clients/{name}/drain", OPERATOR, clients.drain_client),
    ApiRoute("POST", "/clients/{name}/resume", OPERATOR, clients.resume_client),
    ApiRoute("POST", "/clients/{name}/disconnect", OPERATOR, clients.disconnect_client),
    ApiRoute("POST", "/clients/{name}/revoke", ADMIN, clients.revoke_client),
    ApiRoute("GET", "/queue", VIEWER, queue.list_jobs),
    ApiRoute("GET", "/queue/runs", VIEWER, queue.list_waiting),
    ApiRoute("GET", "/queue/{job}", VIEWER, queue.get_job),
    ApiRoute("GET", "/pool", VIEWER, pool_overview.pool_overview),
    ApiRoute("GET", "/pool/manifests", VIEWER, pool_overview.pool_manifests),
    ApiRoute("GET", "/pool/{manifest}/files", OPERATOR, pool.pool_files),
    ApiRoute("GET", "/pool/{manifest}/files/{name:path}", OPERATOR, pool.pool_file),
    ApiRoute("GET", "/timeline", VIEWER, timeline.cluster_timeline),
    ApiRoute("GET", "/profiler/metrics", VIEWER, profiler.list_metrics),
    ApiRoute("GET", "/profiler/devices", VIEWER, profiler.list_devices),
    ApiRoute("GET", "/profiler/latest", VIEWER, profiler.latest),
    ApiRoute("GET", "/profiler/query", VIEWER, profiler.query, answer=profiler_models.QueryView),
    ApiRoute("GET", "/profiler/annotations", VIEWER, profiler.list_annotations),
    ApiRoute("GET", "/profiler/sessions", VIEWER, profiler_sessions.list_sessions),
    ApiRoute("POST", "/profiler/sessions", OPERATOR, profiler_sessions.start_session, 201),
    ApiRoute("GET", "/profiler/sessions/{name}", VIEWER, profiler_sessions.get_session),
    ApiRoute("POST", "/profiler/sessions/{name}/stop", OPERATOR, profiler_sessions.stop_session),
    ApiRoute("DELETE", "/profiler/sessions/{name}", OPERATOR, profiler_sessions.delete_session),
    ApiRoute("GET", "/profiler/sessions/{name}/summary", VIEWER, profiler_sessions.session_summary),
    ApiRoute("GET", "/profiler/sessions/{name}/export", VIEWER, profiler_sessions.export_session),
    ApiRoute("GET", "/alerts", VIEWER, alerts.list_alerts),
    ApiRoute("POST", "/tokens", ADMIN, tokens.create_token, 201),
    ApiRoute("GET", "/tokens", ADMIN, tokens.list_tokens),
    ApiRoute("DELETE", "/tokens/{token}", ADMIN, tokens.revoke_token),
)
RULES = (
    *(rule(route.method, PREFIX + route.path, route.role, route.is_write) for route in ROUTES),
    rule("GET", "/openapi.json", VIEWER),
    rule("GET", "/docs", VIEWER),
    rule("GET", "/docs.css", VIEWER),
    rule("GET", prometheus.PATH, VIEWER),
    *(rule("GET", path, ANYONE) for path in (*web.PAGES, web.ASSETS)),
)


def bare_app(version: str) -> FastAPI:
    """Everything below ``/api/v1``, without a host behind it: enough for the OpenAPI document."""
    app = FastAPI(
        title="gswarm",
        version=version,
        description="Errors are `application/problem+json`. Writes take `Idempotency-Key`. Lists take `limit` and `cursor`.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        responses={"default": {"model": models.Problem, "description": "What is wrong and what to do"}},
    )
    for route in ROUTES:
        options: dict[str, Any] = {"response_model": route.answer} if route.answer is not None else {}
        tag = route.path.split("/")[1]
        app.add_api_route(PREFIX + route.path, route.endpoint, methods=[route.method], status_code=route.status, tags=[tag], **options)
    return app


def create_app(services: HostServices) -> FastAPI:
    """The API over a host's services. Routes come from the table and nowhere else.

    ``app.state.streams.close()`` ends the open event streams; call it before the server waits for open requests.
    """
    app = bare_app(services.version)
    gate = Gate(services.tokens, services.logins, services.clock)
    app.state.services = services
    app.state.gate = gate
    app.state.streams = EventStreams(gate.still_stands)
    dashboard = web.Dashboard()
    dashboard.install(app)
    app.add_route("/openapi.json", _openapi, methods=["GET"], include_in_schema=False)
    app.add_route("/docs", _docs, methods=["GET"], include_in_schema=False)
    app.add_route("/docs.css", _docs_style, methods=["GET"], include_in_schema=False)
    app.add_route(prometheus.PATH, prometheus.Scrapes(services).answer, methods=["GET"], include_in_schema=False)
    install_error_handlers(app)
    app.add_middleware(
        Shield,
        rules=RULES,
        gate=gate,
        dashboard=dashboard,
        names=AllowedNames(services.config.bind, services.config.allowed_names),
        audit=services.audit,
        clock=services.clock,
        body_bytes_max=services.config.limits.max_request_bytes,
    )
    return app


async def _openapi(request: Request) -> Response:
    return JSONResponse(request.app.openapi())


async def _docs(request: Request) -> Response:
    roles = {(route.method, PREFIX + route.path.replace(":path", "")): route.role.name.lower() for route in ROUTES}
    return HTMLResponse(docs_page(request.app.openapi(), roles), headers={"Content-Security-Policy": PAGE_POLICY})


async def _docs_style(_request: Request) -> Response:
    return Response(STYLE, media_type="text/css")
