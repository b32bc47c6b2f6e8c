"""The job process: ``python -m gswarm.training.jobs [--fd N] [--device D]`` does one prepare, verify or export and ends.

The request is one JSON document on stdin, the response one on descriptor ``N`` or stdout (``gswarm.training.job_types``). Whatever goes
wrong is a ``Failure`` in the response. Everything else that libraries print goes to stderr.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import logging
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, assert_never

import torch
from peft import PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import save_file

from gswarm.domain import steps
from gswarm.domain.errors import ConflictError, InvalidInputError
from gswarm.domain.plan import Failure
from gswarm.domain.spec import FinetuningType, RunSpec
from gswarm.training import codec
from gswarm.training.base import resolve_base
from gswarm.training.base_files import CODE
from gswarm.training.bounds import limit_memory
from gswarm.training.build import (
    Workshop,
    best_device,
    check_buildable,
    check_supported,
    lora_config,
    make_deterministic,
    meta_model,
    token_limits,
)
from gswarm.training.data import DataMeta, data_key, largest_token, prepare_data
from gswarm.training.digest import weights_digest
from gswarm.training.failures import failure_of
from gswarm.training.job_types import (
    ExportRequest,
    ExportResult,
    JobRequest,
    JobResult,
    PreparedRun,
    PrepareRequest,
    PrepareResult,
    VerifyRequest,
    VerifyResult,
    decode_request,
    encode_response,
)
from gswarm.training.plain import train_plain

logger = logging.getLogger("gswarm.training.jobs")

VERSIONED = ("torch", "transformers", "peft", "trl")


def do_job(request: JobRequest, device: str) -> JobResult:
    """Raises any error; ``main`` turns it into a failure."""
    match request:
        case PrepareRequest():
            return prepare(request)
        case VerifyRequest():
            return verify(request, request.device or device)
        case ExportRequest():
            return export(request)
        case _:
            assert_never(request)


def prepare(request: PrepareRequest) -> PrepareResult:
    """Resolves models, tokenizes data and checks that every run can be built. Equal inputs are done once.

    Raises:
        NotFoundError, InvalidInputError: with the run that is at fault; nothing may be queued then.
    """
    began_s = time.perf_counter()
    out = Path(request.out_dir)
    workshop = Workshop("cpu")
    bases: dict[str, Path] = {}
    data: dict[tuple[object, ...], tuple[Path, DataMeta]] = {}
    checked: set[tuple[object, ...]] = set()
    prepared: list[PreparedRun] = []
    with tempfile.TemporaryDirectory(prefix="gswarm-prepare-") as scratch:
        for spec in request.runs:
            check_supported(spec)
            base = bases.get(spec.model_name_or_path)
            if base is None:
                base = bases[spec.model_name_or_path] = out / f"base-{len(bases)}"
                logger.info("resolving %s", spec.model_name_or_path)
                resolve_base(spec.model_name_or_path, base, Path(scratch) / f"base-{len(bases)}", request.trusted_code)
            build_key = (base, spec.finetuning_type, spec.lora_rank, spec.lora_target, spec.use_dora)
            if build_key not in checked:
                check_buildable(spec, base, request.trusted_code)
                checked.add(build_key)
            key = (base, *data_key(spec))
            if key not in data:
                folder = out / f"data-{len(data)}"
                logger.info("tokenizing %s", spec.dataset)
                work_dir = Path(scratch) / f"data-{len(data)}"
                tokenizer = workshop.tokenizer(base, trusted_code=request.trusted_code)
                data[key] = folder, prepare_data(spec, tokenizer, folder, work_dir)
                _check_tokens(spec, *data[key], *token_limits(base, request.trusted_code))
            prepared.append(_prepared(spec, base, *data[key]))
    return PrepareResult(tuple(prepared), time.perf_counter() - began_s)


def _check_tokens(spec: RunSpec, data_dir: Path, meta: DataMeta, known_tokens: int, limit_tokens: int | None) -> None:
    """A token or a row beyond the last one would break the training of a run, on a GPU together with the device."""
    if (largest := largest_token(data_dir)) >= known_tokens:
        raise InvalidInputError(
            f"the tokenizer of {spec.model_name_or_path} makes the token {largest}, and the model knows {known_tokens}",
            "model and tokenizer do not belong together: check model_name_or_path",
        )
    if limit_tokens is not None and meta.longest_row_tokens > limit_tokens:
        raise InvalidInputError(
            f"dataset {spec.dataset} has a row of {meta.longest_row_tokens} tokens, and {spec.model_name_or_path} reads {limit_tokens}",
            f"set cutoff_len: {limit_tokens}",
        )


def _prepared(spec: RunSpec, base: Path, data_dir: Path, meta: DataMeta) -> PreparedRun:
    return PreparedRun(
        base_dir=str(base),
        data_dir=str(data_dir),
        train_rows=meta.train_rows,
        eval_rows=meta.eval_rows,
        dropped_rows=meta.dropped_rows,
        steps_per_epoch=steps.steps_per_epoch(spec, meta.train_rows),
        total_steps=steps.total_steps(spec, meta.train_rows),
    )


def verify(request: VerifyRequest, device: str) -> VerifyResult:
    """Trains the run again by plain TRL, without interruption, and compares the weights.

    Raises:
        ConflictError: the committed checkpoint is not of ``until_step``.
    """
    committed = codec.read(Path(request.checkpoint_dir))
    if committed.step != request.until_step:
        raise ConflictError(f"the checkpoint is at step {committed.step}, the run is to be verified at {request.until_step}")
    began_s = time.perf_counter()
    weights = train_plain(
        Workshop(device),
        request.spec,
        base_dir=Path(request.base_dir),
        data_dir=Path(request.data_dir),
        total_steps=request.total_steps,
        steps_per_epoch=request.steps_per_epoch,
        until_step=request.until_step,
        checkpoint_dir=Path(request.start_checkpoint_dir) if request.start_checkpoint_dir else None,
        warm_start=request.warm_start,
        first_step=request.first_step,
        trusted_code=request.trusted_code,
    )
    digest = weights_digest(weights)
    return VerifyResult(
        identical=digest == request.expected_weights_digest,
        digest=digest,
        expected=request.expected_weights_digest,
        max_abs_difference=_max_abs_difference(weights, committed.weights),
        steps=request.until_step - request.first_step,
        device=device,
        seconds=time.perf_counter() - began_s,
        versions=tuple((name, importlib.metadata.version(name)) for name in VERSIONED),
    )


def _max_abs_difference(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    if ours.keys() != theirs.keys():
        raise InvalidInputError("the checkpoint's weights have other names than the run's", "it is another run's checkpoint")
    return max((float((ours[name].double() - theirs[name].double()).abs().max()) for name in ours if ours[name].numel()), default=0.0)


def export(request: ExportRequest) -> ExportResult:
    """Writes a folder that peft or transformers loads.

    Raises:
        InvalidInputError: the format is unknown, or does not go with the run.
    """
    out = Path(request.out_dir)
    checkpoint = codec.read(Path(request.checkpoint_dir))
    is_full = request.spec.finetuning_type is FinetuningType.FULL
    match request.format:
        case "adapter" if is_full:
            raise InvalidInputError("a fully fine-tuned run has no adapter", "use format merged: it writes the model")
        case "adapter":
            _export_adapter(request, checkpoint, out)
        case "merged":
            _export_merged(request, checkpoint, out)
        case _:
            raise InvalidInputError(f"the export format {request.format!r} is not available", "use adapter or merged")
    Workshop("cpu").tokenizer(Path(request.base_dir), trusted_code=request.trusted_code).save_pretrained(out)
    files = sorted(path for path in out.rglob("*") if path.is_file())
    names = tuple(str(path.relative_to(out)) for path in files)
    return ExportResult(str(out), request.format, names, sum(path.stat().st_size for path in files))


def _export_adapter(request: ExportRequest, checkpoint: codec.Checkpoint, out: Path) -> None:
    """Names and configuration come from the model without its weights, so that a large base is not loaded."""
    model = get_peft_model(meta_model(Path(request.base_dir), request.trusted_code), lora_config(request.spec))
    adapter = get_peft_model_state_dict(model, state_dict=dict(checkpoint.weights), save_embedding_layers=False)
    out.mkdir(parents=True, exist_ok=True)
    save_file(adapter, out / "adapter_model.safetensors", metadata={"format": "pt"})
    config = model.peft_config["default"]
    config.base_model_name_or_path = request.spec.model_name_or_path
    config.inference_mode = True
    config.save_pretrained(out)


def _export_merged(request: ExportRequest, checkpoint: codec.Checkpoint, out: Path) -> None:
    base = Path(request.base_dir)
    model: Any = Workshop("cpu").fresh_base(request.spec, base, request.trusted_code)
    if request.spec.finetuning_type is FinetuningType.FULL:
        model.load_state_dict(checkpoint.weights, strict=False)
    else:
        adapted: PeftModel = get_peft_model(model, lora_config(request.spec))
        adapter = get_peft_model_state_dict(adapted, state_dict=dict(checkpoint.weights), save_embedding_layers=False)
        set_peft_model_state_dict(adapted, adapter)
        model = adapted.merge_and_unload(safe_merge=True)
    model.save_pretrained(out)
    for code in base.glob(CODE):  # it was trusted, or the base would not have been loaded
        shutil.copyfile(code, out / code.name)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="gswarm.training.jobs", description=__doc__)
    parser.add_argument("--fd", type=int, default=None, help="where the response is written; stdout if not given")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda:0"))
    options = parser.parse_args(arguments)
    gc.freeze()  # what was imported stays; whoever started this may have kept the collector off meanwhile
    gc.enable()
    answer_fd = os.dup(1) if options.fd is None else options.fd
    os.dup2(2, 1)  # what libraries print is no part of the response
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    response: JobResult | Failure
    try:
        make_deterministic()
        device = best_device() if options.device == "auto" else options.device
        request = decode_request(sys.stdin.buffer.read())
        if isinstance(request, PrepareRequest):  # the job that reads what people name
            logger.info("at most %d MiB of memory", limit_memory() >> 20)
        response = do_job(request, device)
    except Exception as error:  # whatever goes wrong in a job is its failure
        logger.exception("the job failed")
        response = failure_of(error)
    with os.fdopen(answer_fd, "w") as answer:
        answer.write(encode_response(response) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
