"""The main job with real processes: submit, train on two clients, steer, verify, export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from experiments import experiment, write_experiment
from real_cluster import RealCluster

from gswarm.sdk import Host

pytestmark = [pytest.mark.e2e, pytest.mark.train]
ENDED = ("completed", "failed", "deleted", "stopped")


def settled(host: Host, name: str) -> bool:
    return host.experiment(name)["state"] in ("idle", "rejected")


def wait_idle(cluster: RealCluster, host: Host, name: str) -> None:
    cluster.wait_for(host, lambda: settled(host, name))


def wait_running_past(cluster: RealCluster, host: Host, run: str, step: int) -> None:
    """Until the run has committed a step beyond ``step``."""
    cluster.wait_for(host, lambda: host.run(run)["position"] > step)


def verify(cluster: RealCluster, run: str) -> dict[str, Any]:
    result: dict[str, Any] = cluster.cli_json("run", "verify", run)
    return result


def test_four_runs_train_on_two_clients_and_each_verifies(cluster: RealCluster, assets: Path, tmp_path: Path) -> None:
    document = experiment(
        assets,
        "four",
        search={"method": "grid", "parameters": {"learning_rate": {"values": [5e-4, 2e-3]}, "lora_rank": {"values": [4, 8]}}},
    )
    file = write_experiment(tmp_path / "four.yaml", document)
    watched = cluster.cli("experiment", "submit", str(file), "--watch")
    assert "eval_loss" in watched.stdout

    rows = cluster.cli_json("experiment", "results", "four")["rows"]
    values = [row["value"] for row in rows]
    assert len(rows) == 4
    assert all(row["state"] == "completed" and row["position"] == row["total_steps"] == 52 for row in rows)
    assert values == sorted(values)
    with cluster.api() as host:
        clients = {commit["client"] for row in rows for commit in host.run(row["id"])["grants"]} | {
            holder for row in rows for holder in row["holders"]
        }
        assert {"left", "right"} <= clients
        for row in rows:
            steps = [chunk["to_step"] for chunk in host.timeline("four")["chunks"] if chunk["run"] == row["id"]]
            assert steps == sorted(set(steps)), "a range of steps counted twice"
            logged = host.metrics(row["id"], ("loss",))["series"][0]["points"]
            assert [point[0] for point in logged] == list(range(1, 53))
    for row in rows[:2]:
        assert verify(cluster, row["id"])["identical"] is True


def test_stop_resume_clone_delete_restore_while_training(cluster: RealCluster, assets: Path, tmp_path: Path) -> None:
    name = "steered-while-it-trains"
    file = write_experiment(tmp_path / "s.yaml", experiment(assets, name, num_train_epochs=12, chunks={"num_chunks": 2}))
    with cluster.api() as host:
        cluster.cli("experiment", "submit", str(file), "-o", "quiet")
        run = host.experiment_runs(name)[0]["id"]
        wait_running_past(cluster, host, run, 0)

        host.stop_run(run)
        cluster.wait_for(host, lambda: host.run(run)["state"] == "stopped")
        stopped_at = host.run(run)["position"]
        assert 0 < stopped_at < host.run(run)["total_steps"]
        assert host.explain(run)["text"]

        warm = host.clone_run(run, {"learning_rate": "4e-4"}, "latest")["id"]
        cold = host.clone_run(run, {"lora_rank": 2})["id"]
        assert host.run(warm)["first_step"] == stopped_at
        host.resume_run(run)
        wait_running_past(cluster, host, cold, 0)
        host.delete_run(cold)
        assert host.run(cold)["state"] == "deleting"
        host.restore_run(cold)
        assert host.run(cold)["state"] == "stopped"

        wait_idle(cluster, host, name)
        total = host.run(run)["total_steps"]
        assert host.run(run)["state"] == host.run(warm)["state"] == "completed"
        rates = {step: rate for step, rate, _ in host.metrics(warm, ("learning_rate",))["series"][0]["points"]}
        assert min(rates) == stopped_at + 1
        assert max(rates.values()) <= 4e-4
        assert max(rates.values()) > 1e-4
        assert verify(cluster, run)["identical"] is True
        assert verify(cluster, warm)["identical"] is True
        assert host.run(run)["position"] == total

        again = cluster.cli("run", "stop", run, code=1)
        assert again.stderr.startswith("error: ")
        assert "clone" in again.stderr

        out = tmp_path / "adapter"
        cluster.cli("run", "export", run, "--format", "adapter", "--to", str(out))
        assert {"adapter_config.json", "adapter_model.safetensors"} <= {path.name for path in out.iterdir()}
        cluster.cli("run", "export", run, "--format", "merged", "--to", str(tmp_path / "merged"))
        assert (tmp_path / "merged" / "model.safetensors").stat().st_size > 0
        assert "loss" in cluster.cli("run", "metrics", run).stdout
        log = cluster.cli("run", "logs", run).stdout
        assert "steps 0 to" in log
        assert "evaluated in" in log


def test_full_fine_tuning_beside_lora(cluster: RealCluster, assets: Path, tmp_path: Path) -> None:
    document = experiment(
        assets,
        "mixed",
        gradient_accumulation_steps=3,
        weight_decay=0.05,
        num_train_epochs=1,
        search={"method": "grid", "parameters": {"finetuning_type": {"values": ["lora", "full"]}}},
    )
    with cluster.api() as host:
        name = host.submit(document)["name"]
        wait_idle(cluster, host, name)
        runs = host.experiment_runs(name)
        assert [run["state"] for run in runs] == ["completed", "completed"]
        for run in runs:
            assert verify(cluster, run["id"])["identical"] is True


def test_stopping_the_last_active_run_leaves_the_experiment_resumable(cluster: RealCluster, assets: Path) -> None:
    with cluster.api() as host:
        name = host.submit(experiment(assets, "paused", num_train_epochs=6))["name"]
        cluster.wait_for(host, lambda: host.experiment(name)["state"] == "active")
        run = host.experiment_runs(name)[0]["id"]
        wait_running_past(cluster, host, run, 0)
        host.stop_experiment(name)
        cluster.wait_for(host, lambda: host.experiment(name)["state"] == "idle")
        assert host.run(run)["state"] == "stopped"
        host.resume_experiment(name)
        wait_idle(cluster, host, name)
        assert host.run(run)["state"] == "completed"
        assert verify(cluster, run)["identical"] is True
