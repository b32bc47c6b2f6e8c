"""What benchmarks of whole clusters share: a host and two clients as processes, and a small model with data, made on the spot."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from gswarm.cli.demo import CLIENTS, DemoCluster
from gswarm.sdk import Host, local_host

TEMPLATE = "{% for message in messages %}{{ '<s>' + message['role'] + '\n' + message['content'] + '</s>' }}{% endfor %}"
SPECIAL_TOKENS = ("<unk>", "<s>", "</s>", "<pad>")


def write_model(folder: Path, hidden: int, layers: int) -> None:
    """A randomly initialised Llama with a tokenizer of bytes and a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = [*SPECIAL_TOKENS, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    raw = Tokenizer(models.BPE({token: index for index, token in enumerate(vocabulary)}, [], unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    tokenizer.chat_template = TEMPLATE
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=3,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_chats(file: Path, count: int) -> None:
    """Sums as conversations, a JSON object a line."""
    turns = (("what is {} plus {}?".format(*pair), f"that is {sum(pair)}.") for pair in ((row % 97, row // 97) for row in range(count)))
    rows = ({"messages": [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]} for ask, answer in turns)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@contextlib.contextmanager
def running_cluster() -> Iterator[tuple[Host, Path]]:
    """A host with clients ``left`` and ``right`` of one slot each; everything is ended and removed afterwards.

    Yields:
        The connected host, and an empty folder for what the benchmark needs.
    """
    with tempfile.TemporaryDirectory(prefix="gswarm-bench-") as folder:
        root = Path(folder)
        cluster = DemoCluster(root / "data")
        (root / "assets").mkdir()
        try:
            cluster.start()
            with local_host(root / "data") as host:
                wait_for(host, lambda: int(host.ready()["clients"]) == len(CLIENTS))
                yield host, root / "assets"
        finally:
            cluster.stop()


def wait_for(host: Host, holds: Callable[[], bool]) -> None:
    """Returns as soon as ``holds()``; looks again at every event of the host."""
    after = int(host.ready()["seq"])
    if holds():
        return
    for _event in host.events(after):
        if holds():
            return
    raise AssertionError("the host ended its events")
