"""What clients of a PostgreSQL noticed, from the log of bench-pg-writer and from what the database
holds afterwards. See bench/README.md for the definitions."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from .procs import BenchError, Lab, bench_program


@dataclass(frozen=True)
class Write:
    """That somebody acknowledged."""
    door: str
    id: int
    sent_ns: int
    done_ns: int
    said: str = ""  # what it returned, where the writer asks for something


@dataclass
class Log:
    """Of a writer that may still be running: each call reads on."""
    path: Path
    acknowledged: list[Write] = field(default_factory=list)
    unknown: set[int] = field(default_factory=set)
    _at: int = 0
    _rest: bytes = b""

    def read(self) -> None:
        with open(self.path, "rb") as f:
            f.seek(self._at)
            new = f.read()
        self._at += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        for line in lines:
            what, door, number, sent, done, *said = line.decode().split()
            if what == "ack":
                self.acknowledged.append(Write(door, int(number), int(sent), int(done), "".join(said)))
            else:
                self.unknown.add(int(number))


@dataclass(frozen=True)
class Moments:
    """On CLOCK_BOOTTIME: of the fault or the order, of the repair, and of the last look."""
    struck_ns: int
    healed_ns: int
    end_ns: int


@dataclass
class Figures:
    writes: int = 0               # acknowledged
    gap_s: float = 0.0            # the longest time without an acknowledged write, until the repair
    back: bool = True             # writes were acknowledged again before the repair
    calm_gap_s: float = 0.0       # the same before the fault: the noise
    moved: bool = False           # another door acknowledged
    lost: int = 0                 # acknowledged, and not in the database at the end
    double: int = 0               # sent to the former primary after another one had acknowledged
    late: int = 0                 # sent to it before, acknowledged by it after
    unknown: int = 0
    recovered_unknown: int = 0    # of those, in the database
    steady_s: float | None = None  # from the order or the repair to full redundancy; None: never
    rejoin_gap_s: float = 0.0     # the longest time without one from the repair on
    refused: dict[str, int] = field(default_factory=dict)


def longest_gap(times: list[int], begin_ns: int, end_ns: int) -> float:
    """Seconds without any of these times, within [begin, end]."""
    inside = [t for t in times if begin_ns <= t <= end_ns]
    edges = [begin_ns, *inside, end_ns]
    return max(b - a for a, b in zip(edges, edges[1:])) / 1e9


def figures(log: Log, present: set[int], before: str, at: Moments) -> Figures:
    """`before`: the door of the primary before the fault; `present`: the rows at the end."""
    acks = sorted(log.acknowledged, key=lambda a: a.done_ns)
    times = [a.done_ns for a in acks]
    calm = [t for t in times if t <= at.struck_ns]
    if not calm:
        raise BenchError("no write was acknowledged before the fault: it proves nothing")
    other = next((a.done_ns for a in acks if a.door != before and a.done_ns > at.struck_ns), None)
    old = [a for a in acks if a.door == before and other is not None and a.done_ns > other]
    f = Figures(writes=len(acks), moved=other is not None)
    f.gap_s = longest_gap(times, calm[-1], at.healed_ns)
    f.back = any(at.struck_ns < t <= at.healed_ns for t in times)
    f.calm_gap_s = longest_gap(times, calm[0], calm[-1])
    f.rejoin_gap_s = longest_gap(times, at.healed_ns, at.end_ns)
    f.lost = sum(a.id not in present for a in acks)
    f.double = sum(other is not None and a.sent_ns > other for a in old)
    f.late = len(old) - f.double
    f.unknown = len(log.unknown)
    f.recovered_unknown = len(log.unknown & present)
    return f


@dataclass
class Writer:
    """bench-pg-writer, from its start to its end."""
    lab: Lab
    doors: dict[str, str]  # by name: a DSN
    first: int
    rate: int
    returning: str = ""  # an expression, for Write.said
    timeout_ms: int = 5000  # of a write: then its outcome is unknown
    log: Log = field(init=False)

    def __post_init__(self) -> None:
        path = self.lab.folder / f"writes-{self.lab.run_number()}"
        path.touch()
        self.log = Log(path)
        returning = [f"--returning={self.returning}"] if self.returning else []
        self.proc = self.lab.start("writer", [
            bench_program("bench-pg-writer", self.lab.build), f"--log={path}", f"--rate={self.rate}",
            f"--first={self.first}", f"--timeout-ms={self.timeout_ms}", *returning, *(f"{name}={d}" for name, d in self.doors.items())],
            pipe=True, talk=True)

    def acknowledged(self, door: str, since_ns: int = 0) -> bool:
        self.log.read()
        return any(a.door == door and a.sent_ns > since_ns for a in reversed(self.log.acknowledged[-200:]))

    def stop(self) -> dict[str, int]:
        """What was refused, by door and SQLSTATE."""
        pipes = self.proc.popen
        assert pipes.stdin is not None and pipes.stdout is not None
        pipes.stdin.close()
        said = pipes.stdout.read()
        if pipes.wait(10) != 0 or not said:
            raise BenchError(f"the writer failed:\n{self.proc.last_words()}")
        self.lab.stop(self.proc)
        self.log.read()
        refused: dict[str, int] = json.loads(said)["refused"]
        return refused


