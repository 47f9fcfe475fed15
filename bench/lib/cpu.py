"""CPU time of a process tree and of the cores.

The time of a task is what the scheduler gave it, in ns, with the network work done inside of its
calls; time stolen by a hypervisor is not in it. The split into user and system comes from the tick
and is coarser: it is used as a share only.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """Of a process tree, or a difference of two."""
    cpu_ns: int = 0
    user_ticks: int = 0
    system_ticks: int = 0

    def __sub__(self, other: Usage) -> Usage:
        return Usage(self.cpu_ns - other.cpu_ns, self.user_ticks - other.user_ticks,
                     self.system_ticks - other.system_ticks)

    @property
    def user_share(self) -> float:
        total = self.user_ticks + self.system_ticks
        return self.user_ticks / total if total else 0.0


def _stat_fields(path: Path) -> list[str]:
    """The fields after the command's name, which may hold spaces: [0] is the state."""
    return path.read_text().rpartition(")")[2].split()


def process_tree(pid: int) -> list[int]:
    """The process and all its descendants that live now."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                children.setdefault(int(_stat_fields(entry / "stat")[1]), []).append(int(entry.name))
            except (OSError, IndexError):
                continue
    tree, at = [pid], 0
    while at < len(tree):
        tree.extend(children.get(tree[at], []))
        at += 1
    return tree


def _task_ns(pid: int) -> int:
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except OSError:
            continue
    return total


def usage(pids: list[int]) -> Usage:
    cpu_ns = user = system = 0
    for pid in pids:
        try:
            fields = _stat_fields(Path(f"/proc/{pid}/stat"))
            cpu_ns += _task_ns(pid)
        except OSError:
            continue
        user += int(fields[11])
        system += int(fields[12])
    return Usage(cpu_ns, user, system)


def core_ticks(core: int) -> tuple[int, int]:
    """Busy and all ticks of a core since boot; stolen ones count as busy, they were not ours."""
    for line in Path("/proc/stat").read_text().splitlines():
        words = line.split()
        if words[0] == f"cpu{core}":
            values = [int(w) for w in words[1:9]]
            idle = values[3] + values[4]
            return sum(values) - idle, sum(values)
    return 0, 0


def core_busy(before: tuple[int, int], after: tuple[int, int]) -> float:
    """Share of a core that was in use between two readings."""
    total = after[1] - before[1]
    return (after[0] - before[0]) / total if total else 0.0


LOOK_S, IDLE_ENOUGH = 0.25, 0.10


@dataclass
class Patience:
    """Waits for an undisturbed machine, in all no longer than `seconds`."""
    seconds: float
    cores: list[int] = field(default_factory=lambda: sorted(os.sched_getaffinity(0)))

    def wait(self) -> None:
        while self.seconds > 0:
            before = [core_ticks(c) for c in self.cores]
            time.sleep(LOOK_S)
            busy = sum(core_busy(b, core_ticks(c)) for b, c in zip(before, self.cores))
            if busy < IDLE_ENOUGH:
                return
            self.seconds -= LOOK_S
