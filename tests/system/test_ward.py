#!/usr/bin/env python3
"""PostgreSQL under the two processes of io/ward.h, started as an agent starts it: whoever dies or freezes, nothing
of it, no backend either, acknowledges a commit after its time."""

import contextlib
import glob
import os
import pwd
import signal
import subprocess
import sys
import time

import lib
import processes
from lib import FULMAR, check, check_equal, wait_until

LEASE_S = 1.5
LATE_S = 0.25  # for a tick, for a machine that is busy, and for the kernel; and as long as nobody could run at all

# What an agent does: start it, say until when, again and again. Its socket speaks as src/io/ward_wire.h says.
OWNER = r"""
import os, select, signal, socket, struct, subprocess, sys, time
fulmar, uid, lease = sys.argv[1], sys.argv[2], float(sys.argv[3])
mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
def order(signo=0, lease=lease):
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    term, kill = now + int(lease * 0.75e9), now + int(lease * 1e9)
    try:
        mine.send(struct.pack("qqii", term, kill, 0, signo))
    except OSError:
        pass  # it has ended since; its last words are still to be read
order()
second = subprocess.Popen([fulmar, "ward", str(theirs.fileno()), uid, str(int(signal.SIGINT)), "--", *sys.argv[4:]],
                          pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True)
theirs.close()
print("second", second.pid, flush=True)
signo = 0
def fast(*_):
    global signo
    signo = signal.SIGINT
signal.signal(signal.SIGUSR1, fast)
while True:
    if select.select([mine], [], [], 0.05)[0]:
        try:
            said = mine.recv(64)
        except ConnectionResetError:  # an order was not read; the last words stand behind that
            said = mine.recv(64)
        if not said:
            print("silent", flush=True)
            break
        kind, guard, program, reaped, forced, status = struct.unpack("iii??xxi", said)
        print(*(("started", guard, program) if kind == 0 else ("over", int(reaped), int(forced), status)), flush=True)
        if kind == 2:
            break
    now, signo = signo, 0
    order(now)
time.sleep(1000)
"""

# Commits as fast as they are acknowledged, and writes down when.
WRITER = r"""
import os, subprocess, sys, time
psql = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)
out = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
while True:
    psql.stdin.write(b"insert into t values (1);\n")
    line = psql.stdout.readline()
    if not line.startswith(b"INSERT"):
        break
    os.write(out, b"%d\n" % time.clock_gettime_ns(time.CLOCK_BOOTTIME))
"""


def boottime():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Database:
    def __init__(self, stage, lease=LEASE_S, writers=2):
        bins = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        if not bins:
            raise lib.Skip("PostgreSQL is not installed")
        try:
            user = pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        except KeyError:
            raise lib.Skip("there is no user postgres") from None
        self.bin, self.stage, self.user = bins[-1], stage, user
        self.data = stage.path("data")
        stage.dir.chmod(0o755)
        self.data.mkdir(mode=0o700)
        os.chown(self.data, user.pw_uid, user.pw_gid)
        self.as_user([f"{self.bin}/initdb", "-D", self.data, "-A", "trust", "-N", "-U", "admin"])
        self.port = lib.free_port()
        self.owner = self.start_owner(lease)
        self.second = int(self.said("second")[0])
        self.guard, self.postmaster = map(int, self.said("started"))
        wait_until("it takes connections", lambda: self.sql("select 1") == "1", 30)
        self.sql("create table t (i int)")
        self.writers = [self.start_writer(i) for i in range(writers)]
        wait_until("all have written", lambda: all(len(self.times(i)) > 20 for i in range(writers)), 30)
        self.metronome = lib.Metronome(stage)
        self.family = self.processes()
        check(len(self.family) > 5 + writers, f"too few processes: {self.family}")

    def as_user(self, argv):
        subprocess.run([str(a) for a in argv], user=self.user.pw_uid, group=self.user.pw_gid, extra_groups=[],
                       check=True, stdout=subprocess.DEVNULL, cwd="/", env={**os.environ, "LC_ALL": "C"})

    def start_owner(self, lease):
        postgres = [f"{self.bin}/postgres", "-D", self.data, "-c", f"port={self.port}", "-c", "listen_addresses=",
                    "-c", f"unix_socket_directories={self.data}", "-c", "fsync=off"]
        return self.stage.start("owner", [sys.executable, self.stage.write("owner.py", OWNER), FULMAR,
                                          self.user.pw_uid, lease, *postgres])

    def psql(self, *more):
        return [f"{self.bin}/psql", "-X", "-h", str(self.data), "-p", str(self.port), "-U", "admin", "-d", "postgres",
                *more]

    def sql(self, text):
        done = subprocess.run(self.psql("-Atc", text), capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    def start_writer(self, i):
        return self.stage.start(f"writer-{i}", [sys.executable, self.stage.write("writer.py", WRITER),
                                                self.stage.path(f"acknowledged-{i}"), *self.psql()])

    def times(self, i):
        return [int(x) for x in lib.whole_lines(self.stage.path(f"acknowledged-{i}")).splitlines()]

    def last_ns(self):
        return max(self.times(i)[-1] for i in range(len(self.writers)))

    def said(self, word):
        def find():
            return next((x for x in self.owner.output().splitlines() if x.split()[:1] == [word]), None)
        return wait_until(f"the owner prints `{word}`", find).split()[1:]

    def processes(self):
        """Of this database, however they came to be: all have its data directory as their own."""
        return processes.at_home_in(self.data)

    def wait_gone(self):
        wait_until("nothing of it is left", lambda: not self.processes() and not processes.is_alive(self.guard)
                   and not processes.is_alive(self.second))

    def check_ended_by(self, ns, what):
        last = self.last_ns()
        late, stalled = (last - ns) / 1e9, self.metronome.stalled_s(ns, last)
        print(f"# {what}: last acknowledged {late:+.3f} s from the end, {stalled:.3f} s of which nobody ran", flush=True)
        check(late < LATE_S + stalled, f"acknowledged {late:.3f} s after {what}")


def test_in_order(stage):
    """Told to end fast, it ends in order, and its guard says so."""
    d = Database(stage)
    d.owner.signal(signal.SIGUSR1)
    check_equal(d.said("over"), ["1", "0", "0"], "reaped, forced, status")
    d.wait_gone()
    state = subprocess.run([f"{d.bin}/pg_controldata", d.data], capture_output=True, text=True, check=True).stdout
    check("shut down" in state.split("Database cluster state:")[1].splitlines()[0], state)


def test_owner_killed(stage):
    """kill -9 of the owner: all of it ends by itself, in order, before the lease is over."""
    d = Database(stage)
    d.owner.kill()
    killed = boottime()
    d.wait_gone()
    d.check_ended_by(killed + LEASE_S * 1e9, "the lease of an owner that was killed")


def test_owner_frozen(stage):
    """An owner that is stopped does not renew: all of it ends with the lease."""
    d = Database(stage)
    d.owner.signal(signal.SIGSTOP)
    stopped = boottime()
    d.wait_gone()
    d.check_ended_by(stopped + LEASE_S * 1e9, "the lease of an owner that was stopped")
    d.owner.signal(signal.SIGCONT)


def test_guard_killed(stage):
    """kill -9 of the guard: what it leaves is ended at once, and the owner is told after that."""
    d = Database(stage)
    os.kill(d.guard, signal.SIGKILL)
    killed = boottime()
    check_equal(d.said("over")[:2], ["1", "1"], "reaped, forced")
    d.wait_gone()
    d.check_ended_by(killed, "the guard was killed")


def test_second_killed(stage):
    """kill -9 of the second: the guard ends all of it, and tells the owner itself."""
    d = Database(stage)
    os.kill(d.second, signal.SIGKILL)
    check_equal(d.said("over")[:1], ["1"], "reaped")
    d.wait_gone()


def test_both_killed(stage):
    """kill -9 of both: the kernel tells the database, which ends itself; nobody vouches for it."""
    d = Database(stage)
    os.kill(d.second, signal.SIGSTOP)
    os.kill(d.guard, signal.SIGKILL)
    os.kill(d.second, signal.SIGKILL)
    d.said("silent")
    d.wait_gone()


def test_postmaster_killed(stage):
    """kill -9 of the postmaster, under load: its backends, which would acknowledge on, die with it."""
    d = Database(stage)
    os.kill(d.postmaster, signal.SIGKILL)
    killed = boottime()
    check_equal(d.said("over"), ["1", "0", "9"], "reaped, forced, status")
    check_equal(d.processes(), [], "what is left when it is said to be over")
    d.check_ended_by(killed, "the postmaster was killed")


def test_guard_frozen(stage):
    """A guard that is stopped with its owner: the second ends all of it in time."""
    d = Database(stage)
    os.kill(d.guard, signal.SIGSTOP)
    d.owner.signal(signal.SIGSTOP)
    stopped = boottime()
    d.wait_gone()
    d.check_ended_by(stopped + LEASE_S * 1e9, "the lease")
    d.owner.signal(signal.SIGCONT)


def test_all_frozen(stage):
    """All of it is stopped past its lease and wakes: it acknowledges no more than what a tick lets through."""
    d = Database(stage)
    everyone = [d.owner.pid, d.guard, d.second, *d.processes()]
    for pid in everyone:
        with contextlib.suppress(ProcessLookupError):  # one that comes and goes
            os.kill(pid, signal.SIGSTOP)
    stopped = boottime()
    time.sleep(LEASE_S + 0.5)
    for pid in reversed(everyone[1:]):
        with contextlib.suppress(ProcessLookupError):  # who woke before may have ended it
            os.kill(pid, signal.SIGCONT)
    woke = boottime()
    d.wait_gone()
    d.check_ended_by(woke, "it woke")
    print(f"# stopped for {(woke - stopped) / 1e9:.2f} s", flush=True)
    d.owner.signal(signal.SIGCONT)


if __name__ == "__main__":
    lib.main(globals())
