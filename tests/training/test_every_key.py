"""Every key of a run that the experiment file accepts has the effect that its name promises, or is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tiny
from harness import Case, InProcess, make_case

from gswarm.domain import keys
from gswarm.domain.errors import InvalidInputError
from gswarm.domain.parse import run_spec_with
from gswarm.domain.spec import RunSpec, Stage
from gswarm.training.protocol import DropRun

pytestmark = pytest.mark.train

ROWS = 12
STEPS = 3


@dataclass(frozen=True)
class Seen:
    """What can be seen of a run that was prepared, built and trained for at most three steps."""

    base: str
    trainable: dict[str, tuple[int, ...]]
    """Shapes of the trained weights by name."""
    initial: str
    """Digest of the trained weights before the first step."""
    weights: str
    losses: list[float]
    rates: list[float]
    steps: int
    steps_per_epoch: int
    data: tuple[int, int, int, int]
    """Rows to train on, rows to evaluate on, tokens, tokens that are learned."""
    eval_batches: int
    dtype: str
    scaling: float | None
    optimizer: dict[str, Any]
    decay: float
    recomputes: bool


class Lab:
    """Makes ``Seen`` of specs; equal specs are trained once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._seen: dict[RunSpec, Seen] = {}
        self._cases: dict[RunSpec, Case] = {}

    @property
    def plain(self) -> RunSpec:
        return RunSpec(
            model_name_or_path=str(self.root / "llama"),
            dataset=str(self.root / "chat.jsonl"),
            val_size=3,
            learning_rate=1e-3,
            num_train_epochs=1.0,
            per_device_train_batch_size=2,
        )

    def case(self, spec: RunSpec) -> Case:
        """The base and the data as the prepare job would make them."""
        if spec not in self._cases:
            self._cases[spec] = make_case(spec, Path(spec.model_name_or_path), self.root / f"data-{len(self._cases)}")
        return self._cases[spec]

    def see(self, spec: RunSpec) -> Seen:
        if spec not in self._seen:
            self._seen[spec] = self._train(spec)
        return self._seen[spec]

    def _train(self, spec: RunSpec) -> Seen:
        from peft.tuners.tuners_utils import BaseTunerLayer

        from gswarm.training.build import Workshop, trainable
        from gswarm.training.digest import weights_digest
        from gswarm.training.plain import StopAt

        case = self.case(spec)
        trainer = Workshop("cpu").build(
            spec,
            base_dir=case.base_dir,
            data_dir=case.data_dir,
            total_steps=case.total_steps,
            output_dir=self.root / "out",
            callbacks=[StopAt(STEPS)],
        )
        model, held_out = trainer.model, trainer.eval_dataset
        initial = weights_digest(trainable(model))
        trainer.train()
        logs = [entry for entry in trainer.state.log_history if "loss" in entry]
        labels = [label for row in trainer.train_dataset["labels"] for label in row]
        scales = [module.scaling["default"] for module in model.modules() if isinstance(module, BaseTunerLayer)]
        frozen = [weight for weight in model.parameters() if not weight.requires_grad]
        group = trainer.optimizer.optimizer.param_groups[0]
        return Seen(
            base=case.base_dir.name,
            trainable={name: tuple(weight.shape) for name, weight in trainable(model).items()},
            initial=initial,
            weights=weights_digest(trainable(model)),
            losses=[entry["loss"] for entry in logs],
            rates=[entry["learning_rate"] for entry in logs],
            steps=case.total_steps,
            steps_per_epoch=case.steps_per_epoch,
            data=(len(trainer.train_dataset), len(held_out) if held_out else 0, len(labels), sum(label >= 0 for label in labels)),
            eval_batches=len(trainer.get_eval_dataloader()) if held_out else 0,
            dtype=str(frozen[0].dtype) if frozen else "",
            scaling=scales[0] if scales else None,
            optimizer={name: group.get(name) for name in ("betas", "eps", "fused")},
            decay=group["weight_decay"],
            recomputes=bool(model.is_gradient_checkpointing),
        )


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    root = tmp_path_factory.mktemp("lab")
    tiny.write_model(root / "llama", layers=1)
    tiny.write_model(root / "other", layers=1, seed=1)
    tiny.write_dataset(root / "chat.jsonl", ROWS)
    tiny.write_dataset(root / "more.jsonl", ROWS + 5)
    return Lab(root)


Proof = Callable[[Seen, Seen], bool]


@dataclass(frozen=True)
class Trial:
    """Changing the key to ``value`` (beside ``given``, which both sides have) must show in the way that ``proof`` says."""

    value: object
    proof: Proof
    given: dict[str, object] = dataclasses.field(default_factory=dict)


def _longer_run(plain: Seen, changed: Seen) -> bool:
    return changed.steps > plain.steps and changed.steps_per_epoch == plain.steps_per_epoch


TRIALS: dict[str, list[Trial]] = {
    "model_name_or_path": [Trial("other", lambda a, b: (a.base, b.base) == ("llama", "other") and a.losses[0] != b.losses[0])],
    "dataset": [Trial("more.jsonl", lambda a, b: b.data[0] == a.data[0] + 5)],
    "finetuning_type": [Trial("full", lambda a, b: any("lora_A" in name for name in a.trainable) and "model.norm.weight" in b.trainable)],
    "lora_rank": [Trial(2, lambda a, b: {min(shape) for shape in b.trainable.values()} == {2})],
    "lora_alpha": [Trial(64, lambda a, b: (a.scaling, b.scaling) == (2.0, 8.0) and a.weights != b.weights)],
    "lora_dropout": [Trial(0.5, lambda a, b: a.initial == b.initial and a.weights != b.weights)],
    "lora_target": [
        Trial("q_proj,v_proj", lambda a, b: {name.split(".")[-4] for name in b.trainable} == {"q_proj", "v_proj"}),
        Trial("embed_tokens", lambda a, b: all("lora_embedding" in name for name in b.trainable) and len(b.trainable) == 2),
    ],
    "use_dora": [Trial(True, lambda a, b: any("magnitude" in name for name in b.trainable))],
    "eval_dataset": [Trial("more.jsonl", lambda a, b: a.data[1] == 0 and b.data[1] == ROWS + 5, {"val_size": 0})],
    "val_size": [
        Trial(5, lambda a, b: (b.data[0], b.data[1]) == (ROWS - 5, 5)),
        Trial(0.25, lambda a, b: (b.data[0], b.data[1]) == (ROWS - 3, 3)),
        Trial(0, lambda a, b: (b.data[0], b.data[1]) == (ROWS, 0)),
    ],
    "max_samples": [Trial(6, lambda a, b: b.data[0] + b.data[1] == 6)],
    "cutoff_len": [Trial(30, lambda a, b: b.data[0] == a.data[0] and b.data[2] < a.data[2])],
    "train_on_prompt": [Trial(True, lambda a, b: a.data[3] < a.data[2] == b.data[2] == b.data[3])],
    "per_device_train_batch_size": [Trial(3, lambda a, b: (a.steps, b.steps) == (5, 3))],
    "per_device_eval_batch_size": [Trial(1, lambda a, b: (a.eval_batches, b.eval_batches) == (1, 3) and a.weights == b.weights)],
    "gradient_accumulation_steps": [
        Trial(2, lambda a, b: (a.steps, b.steps) == (5, 3) and a.losses[0] != b.losses[0]),
        Trial(65536, lambda a, b: b.steps == b.steps_per_epoch == 1),
    ],
    "gradient_checkpointing": [Trial(True, lambda a, b: b.recomputes and not a.recomputes and a.losses == b.losses)],
    "learning_rate": [Trial(5e-4, lambda a, b: (a.rates[0], b.rates[0]) == (1e-3, 5e-4) and a.weights != b.weights)],
    "lr_scheduler_type": [Trial("constant", lambda a, b: b.rates == [1e-3] * STEPS != a.rates)],
    "warmup_ratio": [Trial(0.4, lambda a, b: b.rates == [0.0, 5e-4, 1e-3])],
    "warmup_steps": [Trial(2, lambda a, b: b.rates == [0.0, 5e-4, 1e-3])],
    "weight_decay": [Trial(0.5, lambda a, b: (a.decay, b.decay) == (0.0, 0.5) and a.weights != b.weights)],
    "max_grad_norm": [
        Trial(1e-6, lambda a, b: a.weights != b.weights),
        Trial(0, lambda a, b: a.losses[0] == b.losses[0] and a.weights != b.weights, {"max_grad_norm": 1e-6}),
    ],
    "optim": [Trial("adamw_torch_fused", lambda a, b: not a.optimizer["fused"] and b.optimizer["fused"] is True)],
    "adam_beta1": [Trial(0.5, lambda a, b: b.optimizer["betas"] == (0.5, 0.999) and a.weights != b.weights)],
    "adam_beta2": [Trial(0.5, lambda a, b: b.optimizer["betas"] == (0.9, 0.5) and a.weights != b.weights)],
    "adam_epsilon": [Trial(1e-3, lambda a, b: b.optimizer["eps"] == 1e-3 and a.weights != b.weights)],
    "neftune_noise_alpha": [Trial(50.0, lambda a, b: a.initial == b.initial and a.losses[0] != b.losses[0])],
    "num_train_epochs": [Trial(1.5, _longer_run), Trial(0.3, lambda a, b: b.steps == 2)],
    "max_steps": [Trial(7, _longer_run), Trial(2, lambda a, b: b.steps == 2 == len(b.losses) and b.rates[1] < a.rates[1])],
    "bf16": [Trial(True, lambda a, b: (a.dtype, b.dtype) == ("torch.float32", "torch.bfloat16") and a.losses != b.losses)],
    "seed": [Trial(7, lambda a, b: a.initial != b.initial)],
    "data_seed": [Trial(7, lambda a, b: a.initial == b.initial and a.losses[0] != b.losses[0])],
}
REFUSED: dict[str, list[object]] = {
    "stage": [stage.value for stage in Stage if stage is not Stage.SFT],
    "finetuning_type": ["freeze"],
    "quantization_bit": [4, 8],
    "template": ["llama3"],
    "packing": [True],
    "fp16": [True],
    "lr_scheduler_type": ["reduce_lr_on_plateau", "cosine_with_min_lr", "cosine_warmup_with_min_lr", "warmup_stable_decay", "greedy"],
    "optim": ["adafactor", "paged_adamw_8bit", "sgd"],
}
"""Values that other trainers know: refused when the file is read, long before anything is trained."""


def test_no_key_is_left_out() -> None:
    names = {item.name for item in dataclasses.fields(RunSpec)}
    assert names == set(keys.RUN_KEYS) == set(TRIALS) | set(REFUSED)


@pytest.mark.parametrize(
    ("key", "trial"), [pytest.param(key, trial, id=f"{key}={trial.value}") for key, trials in TRIALS.items() for trial in trials]
)
def test_a_key_has_its_effect(lab: Lab, key: str, trial: Trial) -> None:
    value = str(lab.root / str(trial.value)) if key in ("model_name_or_path", "dataset", "eval_dataset") else trial.value
    plain = run_spec_with(lab.plain, trial.given)
    changed = run_spec_with(plain, {key: value})
    assert changed != plain
    assert trial.proof(lab.see(plain), lab.see(changed))


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in REFUSED.items() for value in values])
def test_what_cannot_be_carried_out_is_refused_at_once(lab: Lab, key: str, value: object) -> None:
    with pytest.raises(InvalidInputError):
        run_spec_with(lab.plain, {key: value})


@pytest.mark.parametrize("name", keys.SCHEDULERS)
def test_every_schedule_is_that_of_transformers(lab: Lab, name: str) -> None:
    import torch
    from transformers import get_scheduler

    seen = lab.see(run_spec_with(lab.plain, {"lr_scheduler_type": name, "warmup_steps": 1}))
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    schedule = get_scheduler(name, optimizer, num_warmup_steps=1, num_training_steps=seen.steps)
    expected = []
    for _ in range(STEPS):
        expected.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert seen.rates == pytest.approx(expected, rel=1e-12)


ODD: dict[str, dict[str, object]] = {
    "fused, polynomial, no clipping": {"optim": "adamw_torch_fused", "lr_scheduler_type": "polynomial", "max_grad_norm": 0},
    "embeddings as target": {"lora_target": "embed_tokens,q_proj", "lora_dropout": 0.1},
    "dora in bf16, recomputed": {"use_dora": True, "bf16": True, "gradient_checkpointing": True, "lora_dropout": 0.1},
    "full in bf16, restarts, data seed": {
        "finetuning_type": "full",
        "bf16": True,
        "lr_scheduler_type": "cosine_with_restarts",
        "data_seed": 3,
        "neftune_noise_alpha": 5,
    },
    "more accumulation than batches": {"gradient_accumulation_steps": 64, "num_train_epochs": 4, "lr_scheduler_type": "inverse_sqrt"},
}


@pytest.mark.parametrize("name", ODD)
def test_odd_configurations_move_exactly(lab: Lab, here: InProcess, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the middle, dropped, and resumed from what was written: the weights are those of plain training."""
    from gswarm.training.build import Workshop
    from gswarm.training.digest import weights_digest
    from gswarm.training.plain import train_plain

    case = lab.case(run_spec_with(lab.plain, {"num_train_epochs": 1.5, **ODD[name]}))
    here.send(case.range(name, 1, 0, 2, tmp_path / "a"))
    middle = here.trained(name, 1)
    here.send(DropRun(middle.run))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    here.send(case.range(name, 2, 2, 3, tmp_path / "b", checkpoint_dir=middle.snapshot_dir))
    here.trained(name, 2)
    assert not list(tmp_path.glob("gswarm-run-*/resume")), "a hot run does not keep what it was resumed from on the disk"
    here.send(case.range(name, 3, 3, case.total_steps, tmp_path / "c"))
    ended = here.trained(name, 3)
    weights = train_plain(
        Workshop("cpu"),
        case.spec,
        base_dir=case.base_dir,
        data_dir=case.data_dir,
        total_steps=case.total_steps,
        steps_per_epoch=case.steps_per_epoch,
    )
    assert ended.weights_digest == weights_digest(weights)
