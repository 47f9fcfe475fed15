"""System calls per request, counted by the kernel's own trace point (perf stat); where that may not
be used, by strace, which slows the process down but counts the same calls."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field

from .procs import Lab

ATTACH_S = 0.5
WATCHED = ["epoll_wait", "epoll_pwait", "epoll_pwait2", "epoll_ctl", "read", "readv", "recvfrom",
           "recvmsg", "write", "writev", "sendto", "sendmsg", "sendfile", "accept4", "connect",
           "close", "setsockopt", "clock_gettime", "getsockopt", "futex", "io_uring_enter"]


@dataclass
class Counted:
    total: int = 0
    by_name: dict[str, int] = field(default_factory=dict)
    how: str = ""


def _perf_knows(event: str) -> bool:
    try:
        done = subprocess.run(["perf", "stat", "-x", ",", "-e", event, "true"], timeout=10,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and "not supported" not in done.stderr


class Counter:
    """Counts between start and stop. `how` is empty where nothing on this machine can count."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.how = ""
        if shutil.which("perf") and _perf_knows("raw_syscalls:sys_enter"):
            self.how = "perf stat"
            self.events = ["raw_syscalls:sys_enter"]
            self.events += [e for n in WATCHED if _perf_knows(e := f"syscalls:sys_enter_{n}")]
        elif shutil.which("strace"):
            self.how = "strace"

    def start(self, lab: Lab, pids: list[int]) -> None:
        self.output = lab.folder / "syscalls.txt"
        targets = ",".join(map(str, pids))
        if self.how == "perf stat":
            argv = ["perf", "stat", "-x", ",", "-o", str(self.output), "-e", ",".join(self.events),
                    "-p", targets]
        else:
            argv = ["strace", "-c", "-f", "-o", str(self.output), "-p", targets]
        self.proc = lab.start("syscalls", argv)
        time.sleep(ATTACH_S)

    def stop(self, lab: Lab) -> Counted:
        self.proc.signal(signal.SIGINT)
        self.proc.popen.wait(10)
        lab.stop(self.proc)
        text = self.output.read_text() if self.output.exists() else ""
        return _parse_perf(text) if self.how == "perf stat" else _parse_strace(text)


def _parse_perf(text: str) -> Counted:
    counted = Counted(how="perf stat")
    for line in text.splitlines():
        words = line.split(",")
        if len(words) < 3 or not words[0].isdigit():
            continue
        if words[2] == "raw_syscalls:sys_enter":
            counted.total = int(words[0])
        elif int(words[0]) > 0:
            counted.by_name[words[2].rpartition("sys_enter_")[2]] = int(words[0])
    return counted


def _parse_strace(text: str) -> Counted:
    counted = Counted(how="strace")
    for line in text.splitlines():
        match = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", line)
        if match and match[2] != "total":
            counted.by_name[match[2]] = int(match[1])
            counted.total += int(match[1])
    return counted
