"""Runs the load generator and reads what it says."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

from .procs import BenchError, Lab, bench_program

CLOCK_SLIP_MAX_MS = 50.0


@dataclass(frozen=True)
class LoadSpec:
    port: int
    rate: int = 0  # 0: saturated
    connections: int = 64
    connections_max: int = 0
    warm_up_ms: int = 1000
    duration_ms: int = 4000
    timeout_ms: int = 5000
    method: str = "GET"
    path: str = "/bench/1"
    body: int = 0
    expect: int = 128
    ids: bool = False
    keys: bool = False
    log: Path | None = None

    def options(self, run: int) -> list[str]:
        values: dict[str, object] = {
            "connections": self.connections, "warm-up-ms": self.warm_up_ms,
            "duration-ms": self.duration_ms, "timeout-ms": self.timeout_ms, "method": self.method,
            "path": self.path, "body": self.body, "expect": self.expect, "run": run}
        if self.rate:
            values["rate"] = self.rate
        if self.connections_max:
            values["connections-max"] = self.connections_max
        if self.log is not None:
            values["log"] = self.log
        options = [f"--{k}={v}" for k, v in values.items()]
        return options + ["--id"] * self.ids + ["--key"] * self.keys + [str(self.port)]


@dataclass
class Hooks:
    """Called as the measuring window begins and ends, with its time on CLOCK_BOOTTIME."""
    begin: Callable[[int], None] = field(default=lambda _ns: None)
    end: Callable[[int], None] = field(default=lambda _ns: None)


def clock_offset_ns() -> int:
    """Wall clock minus boot clock: constant unless somebody sets the wall clock."""
    boot = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return time.clock_gettime_ns(time.CLOCK_REALTIME) - boot


def clock_slip_ms(offset_before_ns: int) -> float:
    return abs(clock_offset_ns() - offset_before_ns) / 1e6


def run_load(lab: Lab, spec: LoadSpec, cores: set[int] | None = None,
             hooks: Hooks | None = None) -> dict[str, Any]:
    """The result document of bench-load. The hooks run while it runs."""
    hooks = hooks or Hooks()
    argv = [bench_program("bench-load", lab.build), *spec.options(lab.run_number())]
    proc = lab.start("load", argv, cores, pipe=True)
    result: dict[str, Any] | None = None
    assert proc.popen.stdout is not None
    for line in proc.popen.stdout:
        event = json.loads(line)
        if event["event"] == "begin":
            hooks.begin(event["boot_ns"])
        elif event["event"] == "end":
            hooks.end(event["boot_ns"])
        else:
            result = event
    proc.popen.wait()
    lab.stop(proc)
    if result is None:
        raise BenchError(f"the load generator gave no result:\n{proc.last_words()}")
    return result
