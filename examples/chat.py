"""Talk to an exported model: ``python examples/chat.py .demo/best-model``. An empty line ends the conversation."""

from __future__ import annotations

import sys

from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    folder = sys.argv[1] if len(sys.argv) > 1 else ".demo/best-model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    messages: list[dict[str, str]] = []
    while line := input("you> ").strip():
        messages.append({"role": "user", "content": line})
        inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        output = model.generate(**inputs, max_new_tokens=80, do_sample=False)
        answer = tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        messages.append({"role": "assistant", "content": answer})
        print(f"model> {answer}")


if __name__ == "__main__":
    main()
