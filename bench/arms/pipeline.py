"""The sample pipeline as a Python program: the same file, prompts, schemas, models' weights and documents as Docket's run.

What a fair user would write: asyncio, four documents in the writing stages at once, review and validation side by side,
embedding in batches, LanceDB's hybrid search. What it leaves out, and Docket does: durable records, retries, dead letters,
a cache, parsing in a child process.
"""

import asyncio
import json
import re
import shutil
import sys
from pathlib import Path

from measure import Clock, read_jsonl, report, seconds, two_threads

two_threads()

import jinja2  # noqa: E402
import lancedb  # noqa: E402
import numpy as np  # noqa: E402
import yaml  # noqa: E402
from lancedb.index import FTS  # noqa: E402
from llama import Llama  # noqa: E402
from minilm import MiniLm  # noqa: E402

AT_ONCE = 4
PIECES = 32  # of a document whose mean is its vector, as in Docket

# The system prompts of Docket's roles, so that both arms read the same tokens.
ROLES = {
    "Writing": "You write clear, plain and short text from the given material. Add nothing that is not in it.",
    "Review": "You judge how well a text fulfils its task, strictly and briefly.",
    "Validation": "You check whether a text keeps the given rules and name each rule that it breaks.",
    "Extraction": "You pull the asked fields out of a document. Copy them as they stand; leave out what is not there.",
}


def head(text: str, characters: int) -> str:
    if len(text) <= characters:
        return text
    cut = text[:characters]
    space = max(cut.rfind(" "), cut.rfind("\n"))
    return cut[: space if space * 2 > characters else characters].rstrip()


def sentences(text: str) -> list[tuple[int, int]]:
    """Byte ranges of sentences."""
    spans, position = [], 0
    for piece in re.split(r"(?<=[.;!?])\s+|\n\s*\n", text):
        start = text.index(piece, position)
        position = start + len(piece)
        if len(piece.split()) >= 3:
            first = len(text[:start].encode())
            spans.append((first, first + len(piece.encode())))
    return spans


class Unfinished(Exception):
    """An answer that was no whole JSON, twice."""


class Softmax:
    """Logistic regression over unit vectors, trained by gradient descent."""

    def __init__(self, vectors: np.ndarray, labels: list[str]) -> None:
        self.labels = sorted(set(labels))
        wanted = np.eye(len(self.labels))[[self.labels.index(label) for label in labels]]
        self.weights = np.zeros((vectors.shape[1], len(self.labels)))
        for _ in range(300):
            self.weights += 20.0 * vectors.T @ (wanted - self.probabilities(vectors)) / len(vectors)

    def probabilities(self, vectors: np.ndarray) -> np.ndarray:
        scores = vectors @ self.weights
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return scores / scores.sum(axis=1, keepdims=True)


class Twin:
    def __init__(self, sample: str, tokenizer: str, gguf: str, state: Path) -> None:
        resources = list(yaml.safe_load_all(Path(sample).read_text(encoding="utf-8")))
        pipeline = next(resource for resource in resources if resource["kind"] == "Pipeline")
        self.stages = {stage["name"]: stage for stage in pipeline["spec"]["stages"]}
        self.chunk_tokens = pipeline["spec"]["knowledge"][0]["chunking"]["tokens"]
        self.environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
        self.environment.filters["head"] = head
        self.minilm = MiniLm(tokenizer)
        self.memory: dict[str, np.ndarray] = {}
        self.gguf = gguf
        shutil.rmtree(state, ignore_errors=True)
        self.database = lancedb.connect(str(state))
        self.slots = asyncio.Semaphore(AT_ONCE)

    def known(self, texts: list[str]) -> np.ndarray:
        """Vectors; the same text is embedded once, as Docket does."""
        new = [text for text in dict.fromkeys(texts) if text not in self.memory]
        if new:
            self.memory.update(zip(new, self.minilm.embed(new)))
        return np.stack([self.memory[text] for text in texts])

    def ingest(self, documents: list[dict]) -> int:
        rows = []
        for document in documents:
            for index, chunk in enumerate(self.minilm.chunks(document["text"], self.chunk_tokens)):
                rows.append({"id": f"{document['id']}#{index}", "document": document["id"], "source": document["path"], "text": chunk})
        vectors = self.known([row["text"] for row in rows])
        table = self.database.create_table("licences", [{**row, "vector": vector} for row, vector in zip(rows, vectors)])
        table.create_index("text", config=FTS())
        self.table = table
        return len(rows)

    def learn(self, documents: list[dict], feedback: list[dict]) -> float:
        """Trains the head; its accuracy on the held-out documents."""
        self.vectors = {}
        for document in documents:
            pieces = self.minilm.chunks(document["text"], self.chunk_tokens)[:PIECES] or [""]
            mean = self.known(pieces).mean(axis=0)
            self.vectors[document["id"]] = mean / max(float(np.linalg.norm(mean)), 1e-9)
        train = [line for line in feedback if line["split"] == "train"]
        test = [line for line in feedback if line["split"] == "test"]
        self.softmax = Softmax(np.stack([self.vectors[line["document"]] for line in train]), [line["label"] for line in train])
        self.center = np.mean(list(self.vectors.values()), axis=0)
        right = sum(self.classify(line["document"])["label"] == line["label"] for line in test)
        return right / max(len(test), 1)

    def classify(self, document: str) -> dict:
        probabilities = self.softmax.probabilities(self.vectors[document][None, :])[0]
        best = int(probabilities.argmax())
        return {"label": self.softmax.labels[best], "probability": float(probabilities[best])}

    async def write(self, name: str, context: dict) -> object:
        stage = self.stages[name]
        work = stage.get("generate") or stage["extract"]
        role = work.get("role", "Extraction")
        schema = work.get("schema") or work.get("output", {}).get("schema")
        prompt = self.environment.from_string(work["prompt"]).render(context)
        # llama.cpp allows white space between the parts of JSON and stops in the middle of a string where the tokens end,
        # so an answer gets twice the room, and another try with twice as much again.
        for room in (2, 4) if schema else (1,):
            answer = await asyncio.to_thread(
                self.llama.chat, ROLES[role], prompt, room * work["maxTokens"], schema, work.get("sampling")
            )
            if not schema:
                return {"text": answer.strip()}
            try:
                return json.loads(answer)
            except json.JSONDecodeError:
                continue
        raise Unfinished(name)

    def similar(self, context: dict) -> dict:
        work = self.stages["similar"]["retrieve"]
        query = self.environment.from_string(work["query"]).render(context)
        words = re.sub(r"[^\w\s]", " ", query)
        found = self.table.search(query_type="hybrid").vector(self.minilm.embed([query])[0]).text(words).limit(work["topK"])
        return {"hits": found.to_list()}

    def cite(self, context: dict) -> list[dict]:
        work = self.stages["cite"]["cite"]
        text = self.environment.from_string(work["text"]).render(context)
        claims = [piece for piece in re.split(r"(?<=[.;!?])\s+", text) if len(piece.split()) >= 3]
        places = []
        for source, text in [(context["document"]["id"], context["document"]["text"])] + [
            (hit["source"], hit["text"]) for hit in context["stages"]["similar"]["hits"]
        ]:
            raw = text.encode()
            places += [(source, start, end, raw[start:end].decode()) for start, end in sentences(text)]
        if not claims or not places:
            return []
        vectors = self.minilm.embed(claims + [place[3] for place in places])
        nearness = vectors[: len(claims)] @ vectors[len(claims) :].T
        cited = []
        for claim, row in zip(claims, nearness):
            best = int(row.argmax())
            if row[best] >= work["minSimilarity"]:
                source, start, end, text = places[best]
                cited.append({"source": source, "start": start, "end": end, "text": text, "claim": claim})
        return cited

    async def document(self, document: dict) -> dict:
        context = {"document": document, "stages": {}}
        stages = context["stages"]
        stages["classify"] = self.classify(document["id"])
        stages["anomaly"] = {"score": float(1.0 - self.vectors[document["id"]] @ self.center)}
        if document["metadata"]["review"]:
            async with self.slots:
                stages["extract"] = await self.write("extract", context)
                stages["similar"] = await asyncio.to_thread(self.similar, context)
                stages["draft"] = await self.write("draft", context)
                stages["review"], stages["validate"] = await asyncio.gather(
                    self.write("review", context), self.write("validate", context)
                )
                stages["cite"] = {"citations": await asyncio.to_thread(self.cite, context)}
        entry = json.loads(self.environment.from_string(self.stages["audit"]["transform"]["template"]).render(context))
        return {"document": document["id"], "output": entry}

    async def run(self, documents: list[dict], feedback: list[dict], output: Path) -> float:
        # Reviews are side by side with validations, so twice as many requests as documents.
        self.llama = Llama(self.gguf, 2 * AT_ONCE)
        accuracy = self.learn(documents, feedback)
        ended = await asyncio.gather(*map(self.document, documents), return_exceptions=True)
        for failure in (end for end in ended if isinstance(end, BaseException) and not isinstance(end, Unfinished)):
            raise failure
        results = [end for end in ended if isinstance(end, dict)]
        self.failed = len(ended) - len(results)
        output.write_text("".join(json.dumps(result) + "\n" for result in results), encoding="utf-8")
        return accuracy


def main(sample: str, documents: str, feedback: str, tokenizer: str, gguf: str, state: str) -> None:
    folder = Path(state)
    twin = Twin(sample, tokenizer, gguf, folder / "lance")
    rows = read_jsonl(documents)
    for row in rows:
        row["text"] = Path(row["path"]).read_text(encoding="utf-8", errors="replace")
    with Clock() as ingest:
        chunks = twin.ingest(rows)
    with Clock() as run:
        accuracy = asyncio.run(twin.run(rows, read_jsonl(feedback), folder / "results.jsonl"))
    tokens = {"promptTokens": twin.llama.prompt_tokens, "completionTokens": twin.llama.completion_tokens}
    report([seconds("ingest", ingest, chunks=chunks), seconds("run", run, accuracy=accuracy, failed=twin.failed, **tokens)])


if __name__ == "__main__":
    main(*sys.argv[1:])
