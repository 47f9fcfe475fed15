"""Processes, ports and the temporary folder of a run.

A Lab owns everything that a run starts: each process stands in its own process group, dies with
the harness, and is gone, with the folder, when the Lab is left, whatever the reason.
"""

from __future__ import annotations

import ctypes
import http.client
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Callable

ROOT = Path(__file__).resolve().parents[2]
PR_SET_PDEATHSIG = 1
NOFILE_WANTED = 65536
STOP_GRACE_S = 2.0


class BenchError(Exception):
    """Something outside of the measured: a missing program, a proxy that does not start."""


def boot_ns() -> int:
    """CLOCK_BOOTTIME: the clock of the load generator and of the origins."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def say(text: str) -> None:
    """Progress, not a result."""
    print(text, file=sys.stderr, flush=True)


def bench_program(name: str, build: Path) -> str:
    path = build / "bench" / name
    if not path.exists():
        raise BenchError(f"{path} is missing: build first (./dev build, or: meson setup {build} && ninja -C {build})")
    return str(path)


def fulmar_program(build: Path) -> str | None:
    path = build / "fulmar"
    return str(path) if path.exists() else None


@dataclass(frozen=True)
class Account:
    """Whom a process runs as."""
    name: str
    uid: int
    gid: int


def account(name: str) -> Account:
    """This account for root; for anybody else the own one, there is no choice."""
    try:
        found = pwd.getpwnam(name) if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    except KeyError as error:
        raise BenchError(f"there is no user {name}") from error
    return Account(found.pw_name, found.pw_uid, found.pw_gid)


@dataclass
class Proc:
    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.popen.pid

    def signal(self, number: int) -> None:
        """To the whole group: a master's workers are frozen and killed with it."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass

    def alive(self) -> bool:
        return self.popen.poll() is None

    def stop(self) -> None:
        if self.alive():
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            try:
                self.popen.wait(STOP_GRACE_S)
            except subprocess.TimeoutExpired:
                pass
        self.signal(signal.SIGKILL)
        self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                pipe.close()

    def last_words(self) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-8:])


def _child_setup(cores: set[int] | None, who: Account | None) -> Callable[[], None]:
    libc = ctypes.CDLL(None, use_errno=True)

    def setup() -> None:
        if who is not None and os.geteuid() == 0:  # before the prctl, which a change of user undoes
            os.initgroups(who.name, who.gid)
            os.setgid(who.gid)
            os.setuid(who.uid)
        # Not SIGKILL: a master that is killed leaves its workers behind.
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if cores is not None:
            os.sched_setaffinity(0, cores)

    return setup


def _interrupted(number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt(f"signal {number}")


def _raise_nofile() -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = NOFILE_WANTED if hard == resource.RLIM_INFINITY else min(NOFILE_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@dataclass
class Lab:
    build: Path
    keep: bool = False
    procs: list[Proc] = field(default_factory=list)
    given: set[int] = field(default_factory=set)
    folder: Path = field(init=False)
    runs: int = 0

    def __enter__(self) -> Lab:
        _raise_nofile()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _interrupted)
        self.folder = Path(tempfile.mkdtemp(prefix="fulmar-bench-"))
        self.folder.chmod(0o755)  # the workers of a peer may run as another user
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # an impatient second Ctrl-C leaves nothing behind
        self.stop_all()
        if self.keep:
            say(f"kept: {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, name: str, argv: list[str], cores: set[int] | None = None, pipe: bool = False,
              talk: bool = False, who: Account | None = None, cwd: Path | None = None,
              env: dict[str, str] | None = None) -> Proc:
        """`pipe`: its output is for us, not for its log; `talk`: so is its input."""
        log = self.folder / f"{name}.log"
        with open(log, "ab") as out:
            popen = subprocess.Popen(argv, stdin=subprocess.PIPE if talk else subprocess.DEVNULL,
                                     stderr=out, cwd=cwd or self.folder, env=env,
                                     stdout=subprocess.PIPE if pipe else out,
                                     start_new_session=True, preexec_fn=_child_setup(cores, who))
        proc = Proc(name, popen, log)
        self.procs.append(proc)
        return proc

    def stop(self, proc: Proc) -> None:
        proc.stop()
        self.procs.remove(proc)

    def stop_all(self) -> None:
        while self.procs:
            self.stop(self.procs[-1])

    def port(self) -> int:
        """A free port below the ephemeral ones: no outgoing connection can take it meanwhile."""
        for _ in range(1000):
            port = random.randrange(12000, 32000)
            if port in self.given:
                continue
            with socket.socket() as s:
                try:
                    s.bind(("127.0.0.1", port))
                except OSError:
                    continue
            self.given.add(port)
            return port
        raise BenchError("no free port")

    def run_number(self) -> int:
        self.runs += 1
        return self.runs


def http_get(port: int, path: str, timeout: float = 1.0) -> tuple[int, bytes]:
    """Status and body of one request on a connection of its own; 0 where there is no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Host": "bench.example"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def wait_ready(proc: Proc, port: int, path: str, seconds: float = 10.0) -> None:
    """Until `path` through `port` is answered with 200 a few times in a row."""
    until = time.monotonic() + seconds
    in_a_row = 0
    while in_a_row < 3:
        if not proc.alive():
            raise BenchError(f"{proc.name} ended at its start:\n{proc.last_words()}")
        if time.monotonic() > until:
            raise BenchError(f"{proc.name} does not answer {path}:\n{proc.last_words()}")
        status, _ = http_get(port, path)
        in_a_row = in_a_row + 1 if status == 200 else 0
        time.sleep(0.02)

