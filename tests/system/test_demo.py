#!/usr/bin/env python3
"""`fulmar demo`: does the demonstration keep its promises to the clients, and leave nothing behind
however it ends? What it counts must hold on any machine; what it times may miss its objective on a
busy one (exit code 2)."""

import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time

import lib
from lib import FULMAR, check, check_equal, wait_until

RATE = 200
RUN_S = 120  # a scenario takes about 20
ALL_S = 280


def demo(stage, name, *arguments):
    """Start one with a folder of its own for temporary files; stderr apart from stdout."""
    tmp = stage.path(f"{name}.tmp")
    tmp.mkdir()
    argv = [FULMAR, "demo", "--rate", str(RATE), *arguments]
    out = stage.path(f"{name}.out")
    process = stage.start(name, ["sh", "-c", 'out=$1; shift; exec "$@" >"$out"', "-", out, *argv],
                          env={"TMPDIR": str(tmp)})
    process.tmp, process.out = tmp, out
    return process


class Child:
    """A process that is not ours, so that nobody else's with the same number is taken for it."""

    def __init__(self, pid):
        self.pid = pid
        self.name = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        self._start = self._stat()[19]

    def _stat(self):
        return pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()

    def lives(self):
        try:
            stat = self._stat()
            return stat[0] != "Z" and stat[19] == self._start
        except OSError:
            return False


def children_of(pid):
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        try:
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            if entry.name.isdigit() and int(stat[1]) == pid:
                found.append(Child(int(entry.name)))
        except OSError:
            pass
    return found


def started(process, n=11):
    """Wait until it has all its processes: a store, a witness, an edge, four in each region."""
    def all_there():
        check(process.is_alive(), f"{process.name} has ended: {process.output()}")
        found = children_of(process.pid)
        return found if len(found) == n and all(c.name for c in found) else None
    return wait_until(f"{n} processes", all_there, 30)


def left_nothing(process, children):
    wait_until("its processes are gone", lambda: not any(c.lives() for c in children))
    check_equal(list(process.tmp.iterdir()), [], "what is left of the temporary folder")


# -------- what it measures --------


def counts_are_right(one):
    """The promises of a scenario that do not depend on how fast this machine is."""
    name = one["name"]
    check(one["region"] in ("west", "north") and one["rate"] == RATE, f"{name}: {one}")
    if name == "read-only":
        told = one["commands_refused"] + one["commands_unknown"]
        check_equal((one["queries_failed"], one["exclusive_commands_failed"]), (0, told), f"{name}: failures")
        check(one["failed"] == told > RATE / 5, f"{name}: {one}")
        check_equal(one["objectives"], {"queries_failed": 0}, f"{name}: objectives")
    elif name in ("stand-down", "complete"):
        # while the app of the only region that ran it is gone; every one of them was told
        check(0 < one["failed"] == one["failed_by_kind"].get("status_5xx"), f"{name}: {one}")
        check_equal((one["queries_failed_when_ready"], one["failed_when_taken"]), (0, 0), f"{name}: {one}")
        check_equal(one["objectives"], {"queries_failed_when_ready": 0, "failed_when_taken": 0}, f"{name}: objectives")
    else:
        check_equal((one["failed"], one["failed_by_kind"], one["last_failed_ms"]), (0, {}, None),
                    f"{name}: failed requests")
        check_equal((one["exclusive_commands_failed"], one["objectives"]["failed"]), (0, 0), f"{name}: {one}")
        fifth = one["requests"] / 5
        check(abs(one["acknowledged_writes"] - fifth) < 10, f"{name}: {one}")
    check_equal(one["acknowledged_writes_missing"], 0, f"{name}: acknowledged writes missing")
    check_equal(one["writes_applied_twice"], 0, f"{name}: writes applied twice")
    check(one["requests"] > 3 * RATE, f"{name}: only {one['requests']} requests")
    check(one["exclusive_commands"] > one["requests"] / 8, f"{name}: {one}")
    for key in ("detect_ms", "quiet_ms", "longest_gap_ms", "slowest_ms", "longest_command_pause_ms",
                "load_generator_late_ms"):
        check(one[key] is None or 0 <= one[key] < 60000, f"{name}: {key} is {one[key]}")
    check(one["longest_gap_ms"] > 0 and one["slow_over_100ms"] >= 0, f"{name}: {one}")
    its_own(one)


def refused_late(one):
    late = one["late_commands"]
    check(re.fullmatch(r"ledger/0@\d+", late["authority"]), late)
    for where in ("at_gate", "at_application"):
        check_equal((late[where]["sent"], late[where]["refused"]), (10, 10), f"{one['name']}: late {where}")
    check(late["at_gate"]["answer"] in ("421 not-holder", "421 moving"), late)
    check_equal(late["at_application"]["answer"], "409", f"{one['name']}: late at the application")


def its_own(one):
    """What only some of them look at."""
    name = one["name"]
    if name in ("kill", "freeze", "partition", "split-brain"):
        check(one["taken_over"], f"{name}: nobody took over")
    if name in ("partition", "split-brain"):
        refused_late(one)
    if name == "split-brain":
        check(one["gate_noticed_stall"], "the gate did not notice that it was frozen")
    if name == "partial":
        check(one["only_broken_context_moved"], "more than the cards moved")
    if name == "move":
        check(one["moves"] and all(m["moved"] and m["took_ms"] > 0 for m in one["moves"]), f"moves: {one['moves']}")
    if name == "read-only":
        check_equal(one["meanwhile"], {"query_status": 200, "query_region": "north", "query_says_read_only": True,
                                       "command_status": 503, "command_has_message": True}, "meanwhile")
        check(one["returned"] and one["return_ms"] > 0, f"it did not return: {one}")
    its_own_cold(one)


def its_own_cold(one):
    """Of a standby whose app is stopped until it is needed."""
    name = one["name"]
    if name in ("stand-down", "complete"):
        check(0 < one["asked_ms"] <= one["queries_answered_ms"] < one["commands_taken_ms"], f"{name}: {one}")
        check_equal(one["meanwhile"], {"query_status": 200, "query_region": "north", "query_says_read_only": True,
                                       "command_status": 503, "command_has_message": True}, "meanwhile")
    if name == "stand-down":
        check(one["holds_as_before"] and one["stopped_ms"] > one["commands_taken_ms"], f"{name}: {one}")
    if name == "complete":
        check(one["completed"] and one["taken_over"] and one["takes_nothing_back"], f"{name}: {one}")
    if name == "failback":
        check(one["failed_back"] and one["is_home"] and one["stopped_ms"] > 0, f"{name}: {one}")


def met(one):
    """Does the document say that its objectives were met? They are what a busy machine may miss."""
    o = one["objectives"]
    return (one["longest_gap_ms"] <= o.get("longest_gap_ms", 1e9)
            and one["longest_command_pause_ms"] <= o.get("longest_command_pause_ms", 1e9))


def document_is_right(code, doc, names):
    check_equal((doc["schema"], [o["name"] for o in doc["scenarios"]]), ("fulmar.demo/1", names), "document")
    for one in doc["scenarios"]:
        counts_are_right(one)
        must_notice = one["name"] in ("kill", "freeze", "partial", "split-brain", "read-only", "stand-down", "complete")
        check_equal(one["pass"], met(one) and not (must_notice and one["detect_ms"] is None),
                    f"objectives and pass of {one}")
    check_equal(doc["pass"], all(o["pass"] for o in doc["scenarios"]), "pass")
    check_equal(code, 0 if doc["pass"] else 2, "exit code")


LATE_MS = 50  # a load generator that was later than this was not let run, nor was anything else


def measured(stage, name, names, *arguments, n=11, meanwhile=None, seconds=RUN_S):
    """What a demonstration of these scenarios found. Where a count is wrong on a machine that did not
    let even the load generator run, it is done again."""
    for again in range(3):
        process = demo(stage, f"{name}{again}", *arguments, "-o", "json")
        children = started(process, n)
        children += meanwhile(process) if meanwhile else []
        code = process.wait(seconds)
        doc = json.loads(process.out.read_text())
        left_nothing(process, children)
        try:
            document_is_right(code, doc, names)
            for one in doc["scenarios"]:
                print(f"  {one['name']}: {json.dumps(one)}")
            return process
        except lib.Failure as failure:
            late = max(o["load_generator_late_ms"] or 0 for o in doc["scenarios"])
            if again == 2 or late < LATE_MS:
                raise
            print(f"again, for it was {late} ms late: {failure}", file=sys.stderr)
    raise AssertionError


def test_all(stage):
    """All scenarios with a store that survives, one after the other: nothing is lost, the right to write is where it has
    to be, what comes too late is refused; and stdout is one document. (Those of a PostgreSQL group: test_demo_group.)"""
    order = ["kill", "freeze", "partial", "move", "partition", "coordination-loss", "split-brain"]
    process = measured(stage, "all", order, "--scenario", ",".join(order), seconds=ALL_S)
    check_equal(process.output(), "", "stderr")


def test_read_only_site(stage):
    """Nobody takes over: queries go on, commands are told when to come again, and all of it returns by itself."""
    measured(stage, "site", ["read-only"], "read-only-site")


def test_kill_and_play(stage):
    """Of three regions one is killed: nothing is lost. Then it stays up, and what it tells one to type
    does what it says."""
    measured(stage, "kept", ["kill"], "--scenario", "kill", "--regions", "3", "--keep", n=15, meanwhile=play)


def play(kept):
    def told():
        check(kept.is_alive(), f"it has ended: {kept.output()}")
        return "Ctrl-C ends it" in kept.output()
    wait_until("it is ours", told, RUN_S)
    text = kept.output()
    regions = dict(re.findall(r"region (\w+): .*\n +(kill -KILL [\d ]+)\n", text))
    check_equal(list(regions), ["west", "north", "south"], "regions")
    status = re.search(r"what the edge sees: +(\S.+) --watch$", text, re.M)[1] + " -o json"

    def health(region):
        done = subprocess.run(["sh", "-c", status], capture_output=True, text=True, check=False)
        if done.returncode:
            return set()
        found = [r for r in json.loads(done.stdout)["regions"] if r["region"] == region]
        return {c["health"] for c in found[0]["contexts"]}

    def type_it(pattern):
        command = re.search(pattern, text, re.M)[1]
        return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True,
                              timeout=30).stdout
    wait_until("north is well", lambda: health("north") == {"up"}, 60, every=0.1)
    type_it(r"region north: .*\n +(kill -KILL [\d ]+)$")
    wait_until("north is down", lambda: health("north") == {"down"}, 60, every=0.1)
    check("balance" in type_it(r"a command of your own: +(curl .+)$"), "the debit has no answer")
    type_it(r"start again what was killed: +(kill -USR1 \d+)$")
    wait_until("north takes part again", lambda: health("north") & {"trial", "ramp", "up"}, 60,
               every=0.1)
    log = re.search(r"the log of all processes: +tail -f (\S+)$", text, re.M)[1]
    check("agent_started" in pathlib.Path(log).read_text(), "the log says nothing")
    again = children_of(kept.pid)
    kept.signal(signal.SIGINT)
    return again


# -------- how it ends --------


def test_interrupted(stage):
    """Ctrl-C and SIGTERM: 130, nothing left, no document."""
    for signo in (signal.SIGINT, signal.SIGTERM):
        process = demo(stage, signo.name, "--scenario", "freeze", "-o", "json")
        children = started(process)
        process.signal(signo)
        check_equal(process.wait(20), 130, f"exit code after {signo.name}")
        left_nothing(process, children)
        check_equal(process.out.read_text(), "", f"document after {signo.name}")


def test_interrupted_at_once(stage):
    """Also before it has all its processes."""
    for ms in (0, 20, 50, 100, 200):
        process = demo(stage, f"after{ms}")
        wait_until("it runs", lambda: os.readlink(f"/proc/{process.pid}/exe") == os.path.realpath(
            FULMAR))
        time.sleep(ms / 1000)
        children = children_of(process.pid)
        process.signal(signal.SIGINT)
        check(process.wait(20) in (130, -signal.SIGINT), f"exit code after {ms} ms")
        left_nothing(process, children)


def test_killed(stage):
    """When the demonstration itself is killed its processes die with it."""
    process = demo(stage, "killed", "--scenario", "kill")
    children = started(process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_until("its processes are gone", lambda: not any(c.lives() for c in children))


def test_screen(stage):
    """On a terminal it draws, and gives the screen back as it was."""
    tmp = stage.path("tmp")
    tmp.mkdir()
    master, slave = pty.openpty()
    with subprocess.Popen([FULMAR, "demo", "--rate", "50"], stdin=slave, stdout=slave,
                          stderr=slave, env={**os.environ, "TMPDIR": str(tmp), "TERM": "xterm"},
                          start_new_session=True) as process:
        stage.on_end(lambda: process.poll() is None and process.kill())
        os.close(slave)
        out, asked, end = b"", False, time.monotonic() + 60
        while time.monotonic() < end:
            if select.select([master], [], [], 0.1)[0]:
                try:
                    out += os.read(master, 65536)
                except OSError:  # it has ended
                    break
            if not asked and b"west" in out and b"answers/s" in out:
                process.send_signal(signal.SIGINT)
                asked = True
        os.close(master)
        check(asked, f"it draws no regions: {out[-500:]!r}")
        check_equal(process.wait(20), 130, "exit code")
    check(out.startswith(b"\033[?1049h\033[?25l"), f"it begins with {out[:40]!r}")
    last = out.rfind(b"\033[?1049l")
    check(last > 0 and b"\033[?25h" in out[:last][-20:], "the screen was not given back")
    check(b"\033[" not in out[last + 8:], f"it draws after the end: {out[last:]!r}")
    check_equal(list(tmp.iterdir()), [], "what is left of the temporary folder")


def test_cannot_start(stage):
    """No folder for temporary files, no sample application: 1, and why."""
    def fails(why, argv, **env):
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30,
                              env={**os.environ, **env})
        check_equal((done.returncode, done.stdout), (1, ""), f"{argv}")
        check(why in done.stderr, f"{argv} says {done.stderr!r}")
    fails("cannot make a temporary folder", [FULMAR, "demo"], TMPDIR="/nowhere")
    alone = stage.path("alone")
    alone.mkdir()
    shutil.copy(FULMAR, alone / "fulmar")
    fails("cannot find the sample application", [str(alone / "fulmar"), "demo"],
          TMPDIR=str(stage.dir))
    check_equal([p.name for p in stage.dir.iterdir()], ["alone"], "what is left")


if __name__ == "__main__":
    lib.main(globals())
