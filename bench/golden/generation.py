#!/usr/bin/env python3
"""Writes agent-pod/engine/tests/golden/generation.json: what llama.cpp answers, for our models to be compared with.

    pip install xllamacpp==2026.10.11549 gguf==0.19.0
    python bench/golden/generation.py --smollm2 SmolLM2-135M-Instruct.Q4_1.gguf --gemma3 gemma-3-270m-q4_k_m.gguf

For every prompt: the tokens of the prompt, the greedy continuation as tokens and text, and the ten likeliest tokens with
their natural logarithms of probability at every place of it. Two threads, keys and values in f16, nothing cached.
llama.cpp rounds activations to 8 bits on the way, so beside its logarithms stand those of `exact`: the same weights and
places computed in plain 32-bit arithmetic with NumPy.
"""

import argparse
import hashlib
import json
import pathlib
import urllib.request

import numpy
import xllamacpp

from exact import Exact

LICENCE = (
    "Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated "
    "documentation files (the \"Software\"), to deal in the Software without restriction, including without limitation "
    "the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and "
    "to permit persons to whom the Software is furnished to do so, subject to the following conditions: The above "
    "copyright notice and this permission notice shall be included in all copies or substantial portions of the "
    "Software."
)
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"

CHAT = {
    "capital": [("user", "What is the capital of France?")],
    "two-digits": [("system", "Answer in one short sentence."), ("user", "What is 12 + 30? And who wrote Hamlet in 1600?")],
    "licence": [("user", "List the duties in this licence:\n\n" + LICENCE)],
    "turns": [
        ("user", "Name a colour."),
        ("assistant", "Blue."),
        ("user", "Name another one, and a fruit of that colour."),
    ],
}
PLAIN = {
    "river": "The longest river in Africa is",
    "numbers": "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,",
    "code": "def fibonacci(n):\n    if n < 2:\n        return n\n",
    # Longer than Gemma's window of 512 tokens.
    "window": " ".join([LICENCE] * 7) + " In short, the licence allows",
}


def chatml(messages):
    """The template in SmolLM2's file."""
    text = ""
    if messages[0][0] != "system":
        text += f"<|im_start|>system\n{SYSTEM}<|im_end|>\n"
    for role, content in messages:
        text += f"<|im_start|>{role}\n{content}<|im_end|>\n"
    return text + "<|im_start|>assistant\n"


def server(path):
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = 4096
    params.n_parallel = 1
    params.cpuparams.n_threads = 2
    params.cpuparams_batch.n_threads = 2
    params.cache_prompt = False
    params.warmup = False
    params.verbosity = -1
    return xllamacpp.Server(params)


def post(llama, path, body):
    request = urllib.request.Request(
        llama.listening_address + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)


def case(llama, exact, name, prompt, count, messages=None):
    tokens = post(llama, "/tokenize", {"content": prompt, "add_special": True, "parse_special": True})["tokens"]
    answer = post(
        llama,
        "/completion",
        {
            "prompt": tokens,
            "n_predict": count,
            "temperature": 0,
            "top_k": 1,
            "n_probs": 10,
            "return_tokens": True,
            "cache_prompt": False,
        },
    )
    places = answer["completion_probabilities"]
    continuation = [place["id"] for place in places]
    likeliest = [[top["id"] for top in place["top_logprobs"]] for place in places]
    logarithms = exact.logarithms(tokens + continuation[:-1], len(tokens) - 1)
    return {
        "name": name,
        **({"messages": [{"role": role, "content": content} for role, content in messages]} if messages else {}),
        "prompt": prompt,
        "prompt_tokens": tokens,
        "tokens": continuation,
        "text": answer["content"],
        "likeliest": likeliest,
        "llama_cpp": [[round(top["logprob"], 4) for top in place["top_logprobs"]] for place in places],
        "exact": numpy.take_along_axis(logarithms, numpy.array(likeliest), axis=1).astype(float).round(4).tolist(),
    }


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smollm2", type=pathlib.Path, required=True)
    parser.add_argument("--gemma3", type=pathlib.Path, required=True)
    parser.add_argument("--tokens", type=int, default=32)
    arguments = parser.parse_args()
    models = {}
    llama, exact = server(arguments.smollm2), Exact(arguments.smollm2)
    models["smollm2-135m-instruct"] = {
        "sha256": digest(arguments.smollm2),
        "cases": [case(llama, exact, name, chatml(chat), arguments.tokens, chat) for name, chat in CHAT.items()],
    }
    del llama, exact
    llama, exact = server(arguments.gemma3), Exact(arguments.gemma3)
    models["gemma3-270m"] = {
        "sha256": digest(arguments.gemma3),
        "cases": [case(llama, exact, name, prompt, arguments.tokens) for name, prompt in PLAIN.items()],
    }
    target = pathlib.Path(__file__).parents[2] / "agent-pod/engine/tests/golden/generation.json"
    written = {"made_by": f"xllamacpp {xllamacpp.__version__}", "models": models}
    target.write_text(json.dumps(written, ensure_ascii=False, separators=(",", ":")) + "\n")
    print(f"wrote {target}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
