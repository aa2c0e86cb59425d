"""Writes what the demonstration teaches, a label a line: labels.py FOLDER, where docket-demo-corpus has collected.

That is what is known of the licences of some documents, and that all others are licences too: of those that the accuracy is
measured on, nothing.
"""

import json
import pathlib
import sys

# As many as the anomaly head learns from at most.
USUAL = 1000

folder = pathlib.Path(sys.argv[1])
feedback, documents = (
    [json.loads(line) for line in (folder / name).open()] for name in ("feedback.jsonl", "documents.jsonl")
)
held_out = {line["document"] for line in feedback if line["split"] == "test"}
for line in feedback:
    if line["split"] == "train":
        print(json.dumps(line))
for document in sorted({line["id"] for line in documents} - held_out)[:USUAL]:
    print(json.dumps({"document": document, "head": "unlike-the-others", "label": "usual"}))
