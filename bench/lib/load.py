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
    apps: tuple[int, ...] = ()  # ports where it is the application, too

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
        options += [f"--app={port}" for port in self.apps]
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


class Load:
    """bench-load. Where it is the application as well, it serves from here on and begins with
    `run`."""

    def __init__(self, lab: Lab, spec: LoadSpec, cores: set[int] | None = None) -> None:
        argv = [bench_program("bench-load", lab.build), *spec.options(lab.run_number())]
        self.lab, self.serves = lab, bool(spec.apps)
        self.proc = lab.start("load", argv, cores, pipe=True, talk=self.serves)
        if self.serves and self._next().get("event") != "serving":
            raise self._no_result()

    def _no_result(self) -> BenchError:
        self.proc.popen.wait()
        return BenchError(f"the load generator gave no result:\n{self.proc.last_words()}")

    def _next(self) -> dict[str, Any]:
        """What it says next; nothing at its end."""
        assert self.proc.popen.stdout is not None
        line = self.proc.popen.stdout.readline()
        said: dict[str, Any] = json.loads(line) if line else {}
        return said

    def run(self, hooks: Hooks | None = None) -> dict[str, Any]:
        """The result document. The hooks run while it runs."""
        hooks = hooks or Hooks()
        if self.serves:
            assert self.proc.popen.stdin is not None
            try:
                self.proc.popen.stdin.write(b"begin\n")
                self.proc.popen.stdin.flush()
            except OSError as error:
                raise self._no_result() from error
        while (said := self._next()).get("event") in ("begin", "end"):
            (hooks.begin if said["event"] == "begin" else hooks.end)(said["boot_ns"])
        if not said:
            raise self._no_result()
        self.proc.popen.wait()
        self.lab.stop(self.proc)
        return said


def run_load(lab: Lab, spec: LoadSpec, cores: set[int] | None = None,
             hooks: Hooks | None = None) -> dict[str, Any]:
    return Load(lab, spec, cores).run(hooks)
