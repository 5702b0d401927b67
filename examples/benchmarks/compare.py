"""skdc beside its peers and beside the limit: same inputs, one process each, in turns.

Run: python examples/benchmarks/compare.py --peer asteroid=ENVIRONMENT/bin/python
     [--peer nussl=...] [--peer espnet=...] [--cases objective-20 ...] [--output results.json]

Peers live in environments of their own (docs/benchmarks.md tells how to make them); without any,
skdc runs beside the bare network. `report.py` makes a table and a plot of the results.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import select
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from cases import CASES, PEERS, Case, shrink
from report import print_case

HERE = Path(__file__).parent
# Threads of a candidate that has answered may spin for a while before they sleep.
_SETTLE_SECONDS = 0.1
_TURN_SECONDS = 0.5


class Candidate:
    """A worker process and what it has answered."""

    def __init__(self, python: str, n_threads: int, limit: float, log: IO[bytes]) -> None:
        self.limit = limit
        self.log = log
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        environment = os.environ | dict.fromkeys(names, str(n_threads))
        # Tools that a peer looks for may lie in its environment.
        environment["PATH"] = os.pathsep.join([str(Path(python).parent), os.environ["PATH"]])
        self.process = subprocess.Popen(
            [python, str(HERE / "worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=environment,
        )
        # Both are there, because both were asked for as pipes.
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.questions, self.answers = self.process.stdin, self.process.stdout
        self.seconds: list[float] = []
        self.figures: dict[str, float] = {}
        self.error: str | None = None

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Send a command and wait for the answer; nothing once an error has ended it."""
        if self.error is not None:
            return {}
        with contextlib.suppress(BrokenPipeError):
            self.questions.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            self.questions.flush()
        ready, _, _ = select.select([self.answers], [], [], self.limit)
        if not ready:
            self.error = f"more than {self.limit:g} s"
        elif line := self.answers.readline():
            answer = json.loads(line)
            self.error = answer.pop("error", None)
            return answer
        else:
            self.log.seek(0)
            last = self.log.read().decode(errors="replace").strip().splitlines()[-1:]
            self.error = f"its process ended: {last}"
        self.process.kill()
        return {}

    def warm_up(self, seconds: float) -> None:
        """Run for the first time, which says what memory it takes, and on; not timed."""
        self.figures |= self.ask("first")
        self.ask("turn", at_least=seconds)

    def turn(self) -> None:
        """Run some more.

        The first run of a turn finds the caches full of what others did and does not count.
        """
        seconds = self.ask("turn", at_least=_TURN_SECONDS).get("seconds", [])
        self.seconds += seconds[1:] or seconds

    def result(self) -> dict[str, Any]:
        """Give what is to be kept."""
        self.figures |= self.ask("describe")
        if self.error is not None:
            return {"error": self.error}
        return {
            "median_s": statistics.median(self.seconds),
            "seconds": [round(x, 5) for x in self.seconds],
            **self.figures,
        }

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.questions, self.answers):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def compare(case: Case, pythons: dict[str, str], args: argparse.Namespace) -> dict[str, Any]:
    """Run a case; give what its candidates took."""
    chosen = {
        name: module_settings
        for name, module_settings in case.candidates.items()
        if module_settings[0] not in PEERS or module_settings[0] in pythons
    }
    candidates: dict[str, Candidate] = {}
    with tempfile.TemporaryFile() as log, contextlib.ExitStack() as stack:
        for name, (module, settings) in chosen.items():
            python = pythons.get(module, sys.executable)
            candidate = candidates[name] = Candidate(python, args.threads, args.limit, log)
            stack.callback(candidate.stop)
            candidate.ask(
                "prepare", kind=case.kind, module=module, settings=settings, options=case.options
            )
            candidate.warm_up(case.warm_seconds)
        for _ in range(args.repeats or case.repeats):
            for candidate in candidates.values():
                time.sleep(_SETTLE_SECONDS)
                candidate.turn()
        return {name: candidate.result() for name, candidate in candidates.items()}


def machine() -> str:
    """Say what this ran on."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text("ascii").splitlines()
        model = next(x.split(":")[1].strip() for x in lines if x.startswith("model name"))
    return f"{model}, torch {version('torch').split('+')[0]}"


def main() -> None:
    """Run the cases asked for, and write after each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--peer", action="append", default=[], metavar="NAME=PYTHON", help=f"of {list(PEERS)}"
    )
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, help="turns; each case has its own number")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds a run may take")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does everything work?")
    parser.add_argument("--output", type=Path, help="JSON file to add the results to")
    args = parser.parse_args()
    pythons = dict(pair.split("=", 1) for pair in args.peer)
    if unknown := pythons.keys() - PEERS.keys():
        parser.error(f"unknown peers {sorted(unknown)}; there are {list(PEERS)}")
    for key in args.cases:
        case = CASES[key]
        if args.quick:
            case = case._replace(options=shrink(case.options), repeats=1, warm_seconds=0.0)
        record = {
            "title": case.title,
            "machine": machine(),
            "threads": args.threads,
            "candidates": compare(case, pythons, args),
        }
        print_case(record)
        if args.output is not None:
            results = json.loads(args.output.read_text("utf-8")) if args.output.exists() else {}
            results[key] = record
            ordered = {name: results[name] for name in CASES if name in results}
            unfinished = args.output.with_name(args.output.name + ".part")
            unfinished.write_text(json.dumps(ordered, indent=1) + "\n", "utf-8")
            unfinished.replace(args.output)


if __name__ == "__main__":
    main()
