"""Hosts with PostgreSQL in three places of one machine, and the ways between them.

Every way from a place to another goes through Fulmar's fault proxy (bench-links), so that a place can
be cut off and be far away for everything that runs there. A place has two addresses of its own: the
*public* one that others are told, where the proxy listens, and the *real* one behind it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from .procs import Account, BenchError, Lab, Proc, account, bench_program

PLACES = ("west", "north", "east")
NODES = PLACES[:2]  # with PostgreSQL; the third one only agrees
ANYWHERE, CLIENT = "*", "client"
DATABASE = "postgres"
BIN = Path("/usr/lib/postgresql/15/bin")
SHARED_BUFFERS = "128MB"  # of every system: what one computes by itself must not decide


def until(what: str, condition: Callable[[], bool], seconds: float, every: float = 0.05) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise BenchError(f"never: {what}")
        time.sleep(every)


def real(place: str) -> str:
    return f"127.0.{PLACES.index(place) + 1}.2"


def public(place: str) -> str:
    return f"127.0.{PLACES.index(place) + 1}.1"


@dataclass
class Way:
    name: str
    source: str
    to: str


@dataclass
class Network:
    lab: Lab
    ways: list[Way] = field(default_factory=list)
    proc: Proc = field(init=False)

    def __post_init__(self) -> None:
        self.proc = self.lab.start("links", [bench_program("bench-links", self.lab.build)],
                                   pipe=True, talk=True)

    def _order(self, *words: str) -> None:
        pipes = self.proc.popen
        assert pipes.stdin is not None and pipes.stdout is not None
        pipes.stdin.write(f"{' '.join(words)}\n".encode())
        pipes.stdin.flush()
        answer = pipes.stdout.readline().decode().strip()
        if answer != "ok":
            raise BenchError(f"the links do not obey '{' '.join(words)}': {answer}")

    def way(self, source: str, to: str, port: int, at: int | None = None) -> tuple[str, int]:
        """Where who stands in `source` dials to reach a port of `to`."""
        here = (public(to), at or self.lab.port())
        name = f"{source}-{to}-{here[1]}"
        self._order("open", name, f"{here[0]}:{here[1]}", f"{real(to)}:{port}")
        self.ways.append(Way(name, source, to))
        return here

    def cut(self, place: str, verb: str = "cut") -> None:
        """Nobody reaches this place any more, and it reaches nobody."""
        for way in self.ways:
            if place in (way.source, way.to):
                self._order(verb, way.name)

    def heal(self, place: str) -> None:
        self.cut(place, "heal")

    def delay(self, ms: int) -> None:
        """Each way between two places; clients stand beside each of them."""
        for way in self.ways:
            if way.source != CLIENT:
                self._order("delay", way.name, str(ms))


def _ppid(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def processes_in(folder: Path) -> list[int]:
    """Those that work in a folder of ours: also who left the process group of its parent, as
    postmasters do, or lost it. Nobody else knows the folder."""
    found = []
    inside = f"{folder}{os.sep}"
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                where = os.readlink(entry / "cwd")
            except OSError:
                continue
            if where == str(folder) or where.startswith(inside):
                found.append(int(entry.name))
    return found


def send(pids: list[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def end_all_in(folder: Path) -> None:
    """Until nothing works there any more; what is stopped ends as well."""
    end = time.monotonic() + 10
    while left := processes_in(folder):
        if time.monotonic() > end:
            raise BenchError(f"processes that do not end: {left}")
        send(left, signal.SIGKILL)
        time.sleep(0.02)


@dataclass
class Host:
    """What runs in one place for one node: an agent and, below or beside it, PostgreSQL."""
    lab: Lab
    name: str
    login: str = "user=postgres"
    who: Account = field(default_factory=lambda: account("postgres"))
    folder: Path = field(init=False)
    data: Path = field(init=False)
    port: int = field(init=False)
    agent: Proc | None = None

    def __post_init__(self) -> None:
        self.folder = self.lab.folder / self.name
        self.data = self.folder / "data"
        self.port = self.lab.port()
        self.folder.mkdir()
        os.chown(self.folder, self.who.uid, self.who.gid)

    def env(self) -> dict[str, str]:
        """Nothing of the caller's but what programs are found by."""
        return {"PATH": f"{BIN}:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(self.folder),
                "LC_ALL": "C.UTF-8", "XDG_CONFIG_HOME": f"{self.folder}/config",
                "XDG_DATA_HOME": f"{self.folder}/share", "XDG_RUNTIME_DIR": str(self.folder),
                "PG_REGRESS_SOCK_DIR": str(self.folder), "PGHOST": str(self.folder)}

    def start(self, argv: list[str], own_user: bool = True) -> None:
        """What runs there, as the user of PostgreSQL or as that of the bench."""
        if self.agent is not None:
            self.lab.stop(self.agent)
        self.agent = self.lab.start(self.name, argv, who=self.who if own_user else None,
                                    cwd=self.folder, env=self.env())

    def run(self, argv: list[str], seconds: float = 60.0) -> str:
        """To its end; what it printed."""
        return run_as(self.who, argv, self.folder, self.env(), seconds)

    def postmaster(self) -> int:
        """0 where there is none."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
            return pid if os.readlink(f"/proc/{pid}/cwd") == str(self.data) else 0
        except (OSError, ValueError, IndexError):
            return 0

    def agents(self) -> list[int]:
        """All but PostgreSQL."""
        postmaster = self.postmaster()
        return [p for p in processes_in(self.folder) if p != postmaster and
                (postmaster == 0 or _ppid(p) != postmaster)]

    def kill(self) -> None:
        """The agent and the postmaster; its backends notice."""
        send([*self.agents(), self._postmaster()], signal.SIGKILL)

    def _postmaster(self) -> int:
        postmaster = self.postmaster()
        if postmaster == 0:
            raise BenchError(f"{self.name} has no postmaster to kill")
        return postmaster

    def kill_agent(self) -> None:
        send(self.agents(), signal.SIGKILL)

    def kill_postmaster(self) -> None:
        send([self._postmaster()], signal.SIGKILL)

    def freeze(self) -> None:
        """Also what is started while it is being frozen."""
        seen: set[int] = set()
        while new := set(processes_in(self.folder)) - seen:
            send(list(new), signal.SIGSTOP)
            seen |= new

    def end(self) -> None:
        end_all_in(self.folder)
        if self.agent is not None:
            self.lab.stop(self.agent)
            self.agent = None

    def dsn(self) -> str:
        return dsn(real(self.name), self.port, self.login)

    def query(self, text: str, seconds: int = 2) -> list[str] | None:
        """Lines of the answer; None where there is none."""
        return query(self.dsn(), text, seconds)


def run_as(who: Account | None, argv: list[str], cwd: Path, env: dict[str, str], seconds: float) -> str:
    """`who`: None for the user of the bench."""
    root = who is not None and os.geteuid() == 0
    try:
        done = subprocess.run(argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds,
                              user=who.uid if root and who else None,
                              group=who.gid if root and who else None,
                              extra_groups=[] if root else None, check=False)
    except FileNotFoundError as error:
        raise BenchError(f"{argv[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{' '.join(argv[:3])} takes longer than {seconds:.0f} s") from error
    if done.returncode != 0:
        words = "\n".join(done.stdout.splitlines()[-8:])
        raise BenchError(f"{' '.join(argv[:3])} ended with {done.returncode}:\n{words}")
    return done.stdout


def dsn(address: str, port: int, login: str, database: str = DATABASE) -> str:
    return f"hostaddr={address} port={port} dbname={database} {login} sslmode=disable gssencmode=disable"


def query(where: str, text: str, seconds: int = 2) -> list[str] | None:
    """An answer that takes longer is none."""
    env = {"PATH": "/usr/bin:/bin", "PGCONNECT_TIMEOUT": str(seconds),
           "PGOPTIONS": f"-c statement_timeout={seconds * 1000}"}
    try:
        done = subprocess.run([str(BIN / "psql"), "-X", "-A", "-t", "-q", "-d", where, "-c", text],
                              env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=seconds + 1, check=False)
    except FileNotFoundError as error:
        raise BenchError("psql is not installed") from error
    except subprocess.TimeoutExpired:
        return None
    return done.stdout.split("\n")[:-1] if done.returncode == 0 else None
