"""How every Python arm reports: one JSON line with what it measured of itself."""

import json
import os
import resource
import time


def two_threads() -> None:
    """Called before any library starts its threads."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS", "LANCE_CPU_THREADS"):
        os.environ[name] = "2"
    os.environ["TOKENIZERS_PARALLELISM"] = "true"


class Clock:
    """Wall and CPU seconds of a block."""

    def __enter__(self) -> "Clock":
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall = time.perf_counter() - self._wall
        self.cpu = time.process_time() - self._cpu


def rate(name: str, unit: str, once, rounds: int = 1) -> dict:
    """Amounts a second, as `docket bench` measures them: one round of warm-up, then the measured ones."""
    once(0)
    values = []
    cpu = time.process_time()
    for number in range(1, rounds + 1):
        with Clock() as clock:
            amount = once(number)
        values.append(amount / clock.wall)
    return {"name": name, "unit": unit, "values": values, "cpuSeconds": time.process_time() - cpu}


def seconds(name: str, clock: Clock, **more: object) -> dict:
    """A duration that was measured once."""
    return {"name": name, "unit": "s", "values": [clock.wall], "cpuSeconds": clock.cpu, **more}


def report(results: list[dict]) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"results": results, "peakMemoryBytes": peak}), flush=True)


def read_jsonl(path: str) -> list[dict]:
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]
