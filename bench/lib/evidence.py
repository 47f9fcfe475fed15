"""What a fault did, from two sides: the load generator's log (what clients saw) and the records of
the origins (what was executed). See bench/README.md for the definitions."""

from __future__ import annotations

import mmap
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

SILENCE_NS = 20_000_000  # so long without traffic to the bad region counts as detected
SLOW_NS = 100_000_000
EXECUTED = {"executed", "applied", "replayed"}


@dataclass(frozen=True)
class Request:
    """As the client saw it."""
    scheduled_ns: int
    done_ns: int
    outcome: str
    status: int
    origin: str

    @property
    def ok(self) -> bool:
        return self.outcome == "ok"


@dataclass(frozen=True)
class Line:
    """Of an origin's record."""
    boot_ns: int
    received_ns: int  # boot clock; when the kernel had it
    health: bool
    outcome: str
    id: str


@dataclass(frozen=True)
class Moments:
    """On CLOCK_BOOTTIME. `healed` is the end of the test where nothing heals."""
    fault_ns: int
    healed_ns: int
    frozen: bool  # the region was frozen, and woke at healed_ns
    dead: bool    # the region was killed


@dataclass
class Figures:
    requests: int = 0
    failed: int = 0
    failed_by: dict[str, int] = field(default_factory=dict)
    longest_gap_ms: float = 0.0
    slowest_ok_ms: float = 0.0
    slow_over_100ms: int = 0
    last_failure_ms: float | None = None      # after the fault
    quiet_ms: float | None = None             # None: does not apply, or cannot be seen
    detected_ms: float | None = None
    sent_after_detection: int | None = None   # all of the outage where it was never detected
    sent_in_outage: int | None = None
    executed_twice: int = 0
    applied_twice: int = 0
    zombies: int | None = None
    executed_after_waking: int | None = None
    unaccounted: int = 0                      # answered with success, executed nowhere
    calm_gap_ms: float = 0.0                  # the longest gap before the fault: the noise
    calm_west_share: float = 0.0              # a fault in a region without traffic proves nothing
    calm_slowest_ms: float = 0.0


def read_requests(path: Path) -> dict[str, Request]:
    requests = {}
    for text in path.read_text().splitlines():
        name, scheduled, _sent, done, outcome, status, origin = text.split()
        requests[name] = Request(int(scheduled), int(done), outcome, int(status), origin)
    return requests


def read_record(path: Path) -> list[Line]:
    """The file is a mapping: after the last line come zeros, too many to be read."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as record:
        end = record.find(b"\0")
        text = record[:end if end >= 0 else len(record)].decode()
    lines = []
    for line in text.splitlines():
        boot, _wall, age, kind, outcome, name, _method = line.split()
        received = int(boot) - max(0, int(age))
        lines.append(Line(int(boot), received, kind == "h", outcome, name))
    return lines


def _gap_ms(done: list[int], begin_ns: int, end_ns: int) -> float:
    """The longest time without a success within a window."""
    at = [begin_ns, *(t for t in done if begin_ns < t < end_ns), end_ns]
    return max((b - a for a, b in zip(at, at[1:])), default=0) / 1e6


def _slowest_ms(requests: list[Request]) -> float:
    return max((r.done_ns - r.scheduled_ns for r in requests), default=0) / 1e6


def _client_side(f: Figures, requests: dict[str, Request], m: Moments) -> None:
    ok = [r for r in requests.values() if r.ok]
    bad = [r for r in requests.values() if not r.ok]
    done = sorted(r.done_ns for r in ok)
    first = min(r.scheduled_ns for r in requests.values())
    last = max(r.scheduled_ns for r in requests.values())
    f.requests, f.failed = len(requests), len(bad)
    f.failed_by = dict(Counter(f"{r.status}" if r.outcome == "status" else r.outcome for r in bad))
    f.longest_gap_ms = _gap_ms(done, m.fault_ns, last)
    f.calm_gap_ms = _gap_ms(done, first, m.fault_ns)
    f.slowest_ok_ms = _slowest_ms([r for r in ok if r.done_ns >= m.fault_ns])
    calm = [r for r in ok if r.done_ns < m.fault_ns]
    f.calm_slowest_ms = _slowest_ms(calm)
    f.calm_west_share = sum(r.origin == "w" for r in calm) / max(1, len(calm))
    f.slow_over_100ms = sum(r.done_ns - r.scheduled_ns > SLOW_NS for r in ok)
    if bad:
        f.last_failure_ms = (max(r.done_ns for r in bad) - m.fault_ns) / 1e6


def _detected_ns(sent: list[int], m: Moments) -> int | None:
    """The last request before the first silence of the outage; None: there was no silence."""
    at = m.fault_ns
    for t in [*sent, m.healed_ns]:
        if t - at >= SILENCE_NS:
            return at
        at = t
    return None


def _traffic_to_the_bad(f: Figures, requests: dict[str, Request], west: list[Line],
                        m: Moments) -> None:
    sent = sorted(line.received_ns for line in west
                  if line.id in requests and m.fault_ns < line.received_ns < m.healed_ns)
    detected = _detected_ns(sent, m)
    f.sent_in_outage = f.sent_after_detection = len(sent)
    f.quiet_ms = (sent[-1] - m.fault_ns) / 1e6 if sent else 0.0
    if detected is not None:
        f.detected_ms = (detected - m.fault_ns) / 1e6
        f.sent_after_detection = sum(t > detected for t in sent)


def _executions(f: Figures, requests: dict[str, Request], west: list[Line], north: list[Line],
                m: Moments) -> None:
    done = [line for line in [*west, *north] if line.outcome in EXECUTED and line.id in requests]
    times = Counter(line.id for line in done)
    applied = Counter(line.id for line in done if line.outcome == "applied")
    f.executed_twice = sum(1 for n in times.values() if n > 1)
    f.applied_twice = sum(1 for n in applied.values() if n > 1)
    f.unaccounted = sum(1 for name, r in requests.items() if r.ok and name not in times)
    if m.frozen:
        late = {line.id for line in west if line.outcome in EXECUTED and line.id in requests
                and line.boot_ns >= m.healed_ns and line.received_ns < m.healed_ns}
        f.executed_after_waking = len(late)
        f.zombies = sum(1 for name in late if not requests[name].ok)


def figures(requests: dict[str, Request], west: list[Line], north: list[Line], m: Moments,
            behind_gate: bool) -> Figures:
    f = Figures()
    _client_side(f, requests, m)
    _executions(f, requests, west, north, m)
    # A dead region records nothing, and what a frozen gate drops never reaches the app's record.
    if not m.dead and not (m.frozen and behind_gate):
        _traffic_to_the_bad(f, requests, west, m)
    return f
