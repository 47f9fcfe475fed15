#!/usr/bin/env python3
"""`fulmar lease run` with real agents of two regions: a job in each, which writes down when it was alive, by the
clock of the machine. Is there any instant at which two of them were, whoever dies, freezes or is ordered to give?"""

import os
import signal
import subprocess
import sys
import time

import lib
from lib import FULMAR, check, check_equal, wait_until
from test_authority import LEASE_S, PATIENCE_S, Realm, old_is_well

# A line each millisecond or so: who, which epoch, when. What is killed has no last word, hence the many lines.
JOB = r"""
import os, signal, sys, time
name, path, deaf = sys.argv[1], sys.argv[2], sys.argv[3] == "deaf"
if deaf:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
me = f"{name} {os.environ['FULMAR_CONTEXT']}/{os.environ['FULMAR_CELL']} {os.environ['FULMAR_EPOCH']} {os.getpid()}"
def say():
    os.write(out, f"{me} {time.clock_gettime_ns(time.CLOCK_BOOTTIME)}\n".encode())
if deaf and os.fork() == 0:
    os.setsid()  # out of the group, and nobody's child
while True:
    say()
    time.sleep(0.001)
"""


class Jobs:
    """A job on each host, started again whenever it has ended, as a service manager does."""

    def __init__(self, stage, realm, *hosts, deaf=False):
        self.stage, self.realm, self.deaf = stage, realm, deaf
        self.script = stage.write("job.py", JOB)
        self.running = {}
        self.n = 0
        for host in hosts:
            self.start(host)

    def path(self, host):
        return self.stage.path(f"{host}.lines")

    def start(self, host):
        self.n += 1
        self.running[host] = self.stage.start(
            f"job-{self.n}-{host}", [FULMAR, "lease", "run", "ledger", "-c", self.realm.conf, "--host", host, "--",
                                     sys.executable, self.script, host, self.path(host), "deaf" if self.deaf else "-"])
        return self.running[host]

    def lines(self, host):
        """[(epoch, pid, ns)], but what was cut off while it was written."""
        return [(int(e), int(pid), int(ns)) for _, _, e, pid, ns in (
            x.split() for x in lib.whole_lines(self.path(host)).splitlines())]

    def runs_at(self, host, epoch):
        return wait_until(f"the job of {host} runs at {epoch}", lambda: any(e == epoch for e, _, _ in self.lines(host)),
                          PATIENCE_S, every=0.02)

    def judge(self):
        """The time of each epoch, from its first line to its last, is before that of the next one."""
        spans = {}
        for host in self.running:
            for epoch, _, ns in self.lines(host):
                first, last, where = spans.get(epoch, (ns, ns, host))
                check_equal(where, host, f"where epoch {epoch} ran")
                spans[epoch] = (min(first, ns), max(last, ns), host)
        check(spans, "no job ran at all")
        order = sorted(spans)
        for a, b in zip(order, order[1:]):
            check(spans[a][1] < spans[b][0],
                  f"the job of {spans[a][2]} at {a} still ran {(spans[a][1] - spans[b][0]) / 1e6:.1f} ms after that of "
                  f"{spans[b][2]} had begun at {b}")
        self.realm.judge()
        return order


def begin(stage, **options):
    realm = Realm(stage, lease="4s").begin()  # a machine that is busy for half a second does not fail these
    jobs = Jobs(stage, realm, "west-1", "north-1", **options)
    jobs.runs_at("west-1", 1)
    wait_until("a failover may be automatic", lambda: old_is_well(realm, "west", "north"), PATIENCE_S)
    return realm, jobs


def test_the_job_of_a_dead_region_is_over_before_the_next_begins(stage):
    """kill -9 of the agent alone: nobody tells the job, which nevertheless ends in time, and says how."""
    realm, jobs = begin(stage)
    realm.kill("west-1")
    check_equal(jobs.running["west-1"].wait(PATIENCE_S), 5, "exit code of the job whose lease ran out")
    jobs.runs_at("north-1", 2)
    check_equal(jobs.judge(), [1, 2], "epochs")


def test_the_job_of_a_frozen_agent_is_over_before_the_next_begins(stage):
    """SIGSTOP of the agent; a job that does not hear SIGTERM, with a child that left its group, is killed."""
    realm, jobs = begin(stage, deaf=True)
    check_equal(len({pid for _, pid, _ in jobs.lines("west-1")}) > 0, True, "the job runs")
    realm.freeze("west-1")
    check_equal(jobs.running["west-1"].wait(PATIENCE_S), 5, "exit code")
    jobs.runs_at("north-1", 2)
    realm.freeze("west-1", wake=True)
    jobs.start("west-1")
    time.sleep(LEASE_S)
    check_equal(jobs.judge(), [1, 2], "epochs")


def test_a_move_waits_for_the_job(stage):
    """A planned move, there and back: the sub-lease is acknowledged as stopped when the job has ended."""
    realm, jobs = begin(stage, deaf=True)
    for epoch, old, new in ((2, "west", "north"), (3, "north", "west")):
        wait_until("a move is possible", lambda o=old, n=new: old_is_well(realm, o, n), PATIENCE_S)
        op = realm.order(f"{old}-1", "move", context="ledger", to=new)
        check("id" in op, f"the order was refused: {op}")
        realm.wait_for_op(f"{old}-1", op["id"], "done")
        check_equal(jobs.running[f"{old}-1"].wait(PATIENCE_S), 5, "exit code")
        jobs.start(f"{old}-1")
        jobs.runs_at(f"{new}-1", epoch)
    check_equal(jobs.judge(), [1, 2, 3], "epochs")


def test_an_agent_that_comes_back_waits_for_the_job_of_the_one_before(stage):
    """kill -9, a new start at once, and a move: what was lent before is over, too, before the next one begins."""
    realm, jobs = begin(stage, deaf=True)
    jobs.running["west-1"].signal(signal.SIGSTOP)  # it does not learn of the new agent, and goes on by its time
    realm.kill("west-1")
    realm.start("west-1")
    wait_until("the new agent moves it, or north takes it", lambda: jobs.lines("north-1") or realm.ask(
        "west-1", "POST", "/ops/move", {"reason": "a test", "by": "tester", "context": "ledger", "to": "north"})[0] == 202,
               PATIENCE_S, every=0.05)
    wait_until("the job of north runs", lambda: jobs.lines("north-1"), PATIENCE_S, every=0.02)
    jobs.running["west-1"].signal(signal.SIGCONT)
    check_equal(jobs.running["west-1"].wait(PATIENCE_S), 5, "exit code")
    jobs.judge()


def test_a_command_does_not_outlive_what_watches_it(stage):
    """kill -9 of `lease run`, and SIGSTOP: its command ends, and the region goes on holding."""
    realm, jobs = begin(stage)
    pid = jobs.lines("west-1")[-1][1]
    jobs.running["west-1"].signal(signal.SIGSTOP)
    wait_until("the command ends", lambda: not is_there(pid), PATIENCE_S)
    jobs.running["west-1"].signal(signal.SIGCONT)
    check_equal(jobs.running["west-1"].wait(PATIENCE_S), 5, "exit code after it was stopped for too long")
    before = len(jobs.lines("west-1"))
    process = jobs.start("west-1")
    wait_until("it runs again", lambda: len(jobs.lines("west-1")) > before, PATIENCE_S)
    pid = jobs.lines("west-1")[-1][1]
    process.kill()
    wait_until("the command ends", lambda: not is_there(pid), PATIENCE_S)
    check_equal(realm.holders(), {"west": 1}, "holders")
    jobs.judge()


def is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_exit_codes(stage):
    """That of the command; 128 and the signal; 127 without a program; 75 and 69 where it never begins; 64."""
    realm = Realm(stage).begin()

    def run(host, name, *command, options=()):
        done = subprocess.run([FULMAR, "lease", "run", name, "-c", str(realm.conf), "--host", host, *options, "--", *command],
                              capture_output=True, text=True, check=False, timeout=PATIENCE_S)
        return done.returncode, done.stdout, done.stderr
    check_equal(run("west-1", "ledger", "sh", "-c", "echo $FULMAR_CONTEXT $FULMAR_CELL $FULMAR_EPOCH; exit 7")[:2],
                (7, "ledger 0 1\n"), "what a command says and ends with")
    check_equal(run("west-1", "ledger", "sh", "-c", "kill -9 $$")[0], 137, "a command that was killed")
    check_equal(run("west-1", "ledger/0", "/there/is/none")[0], 127, "no program")
    check_equal(run("north-1", "ledger", "true", options=("--timeout", "300ms"))[0], 75, "a region that does not hold")
    check_equal(run("west-1", "ledger/1", "true")[0], 64, "a cell that is none")
    check_equal(run("west-1", "loans", "true")[0], 64, "a context that is none")
    check_equal(run("east-1", "ledger", "true")[0], 78, "a host without a gate")
    realm.kill("west-1")
    check_equal(run("west-1", "ledger", "true", options=("--timeout", "300ms"))[0], 69, "no agent")


def test_the_local_page(stage):
    """Who holds, under which epoch, and how long that is live here; who waits is told of a change."""
    realm = Realm(stage).begin()
    status, doc = realm.ask("west-1", "GET", "/lease/ledger")
    check_equal((status, doc["schema"], doc["held"], doc["epoch"], doc["holder"], doc["region"]),
                (200, "fulmar.lease/1", True, 1, "west", "west"), "west")
    check(0 < doc["left_ms"] <= doc["lease_ms"] == LEASE_S * 1000, f"times: {doc}")
    doc = wait_until("north knows the holder", lambda: [d for d in [realm.ask("north-1", "GET", "/lease/ledger")[1]]
                                                        if d["holder"] == "west"], PATIENCE_S)[0]
    check_equal((doc["held"], doc["left_ms"], doc["epoch"]), (False, 0, 1), "north")
    check_equal(realm.ask("west-1", "GET", "/lease/loans")[0], 404, "a context that is none")
    check_equal(realm.ask("west-1", "GET", "/lease/ledger?cell=1")[0], 404, "a cell that is none")
    check_equal(realm.ask("west-1", "GET", "/lease/ledger?after=x")[0], 400, "an epoch that is none")
    wait_until("a failover may be automatic", lambda: old_is_well(realm, "west", "north"), PATIENCE_S)
    realm.kill("west-1")
    doc = realm.ask("north-1", "GET", f"/lease/ledger?after=0&wait={30000}", timeout=40)[1]
    check_equal((doc["held"], doc["epoch"], doc["holder"]), (True, 2, "north"), "what north is told")
    realm.judge()


if __name__ == "__main__":
    lib.main(globals())
