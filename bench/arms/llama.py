"""The generating model on llama.cpp, through xllamacpp: the same GGUF file, greedy, two threads."""

import json
import threading

import xllamacpp


class Llama:
    def __init__(self, gguf: str, at_once: int, context: int = 2048) -> None:
        params = xllamacpp.CommonParams()
        params.model.path = gguf
        params.n_ctx = context * at_once
        params.n_parallel = at_once
        params.cpuparams.n_threads = 2
        params.cpuparams_batch.n_threads = 2
        params.warmup = True
        params.verbosity = 0
        self.server = xllamacpp.Server(params)
        self.lock = threading.Lock()
        self.prompt_tokens = self.completion_tokens = 0

    def chat(
        self,
        system: str | None,
        prompt: str,
        max_tokens: int,
        schema: dict | None = None,
        sampling: dict | None = None,
    ) -> str:
        sampling = sampling or {}
        messages = [{"role": "system", "content": system}] if system else []
        request = {
            "messages": [*messages, {"role": "user", "content": prompt}],
            "max_tokens": max_tokens,
            "temperature": sampling.get("temperature", 0),
            "repeat_penalty": sampling.get("repetitionPenalty", 1.0),
        }
        if schema is not None:
            request["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        answer = self.server.handle_chat_completions(request)
        answer = json.loads(answer) if isinstance(answer, str) else answer
        if "choices" not in answer:
            raise RuntimeError(f"llama.cpp answered {answer}")
        with self.lock:
            self.prompt_tokens += answer["usage"]["prompt_tokens"]
            self.completion_tokens += answer["usage"]["completion_tokens"]
        return answer["choices"][0]["message"]["content"]
