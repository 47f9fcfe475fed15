#!/usr/bin/env python3
"""`fulmar guard`: everything that can write on a host dies with its agent, and only then does it testify."""

import json
import os
import signal
import sys
import time

import lib
import processes
from lib import check, check_equal, wait_until
from servers import Server, reply

CONFIG = """\
fulmar: 1
service: bank
state: "{dir}/{{host}}"
coordination: {{sqlite: "{dir}/c.db"}}
hosts:
  west-1:  {{region: west, roles: [gate, health, controller, coordination], address: 127.0.0.1, gate: "127.0.0.1:{gate}", peer: "127.0.0.1:{peer}", admin: "127.0.0.1:{admin}"}}
  north-1: {{region: north, roles: [gate, health, controller], address: 127.0.0.1, gate: "127.0.0.1:{ngate}", peer: "127.0.0.1:{npeer}", admin: "127.0.0.1:{nadmin}"}}
regions: {{west: {{apps: ["127.0.0.1:{app}"]}}, north: {{apps: ["127.0.0.1:{napp}"]}}}}
contexts: {{ledger: {{topology: active-passive, home: west, routes: ["/**"], needs: [], lease: 2s}}}}
edge: {{listen: [{{address: "127.0.0.1:{admin}"}}], drain: {{finish: 300ms}}}}
"""

# An application with a child that leaves its session, and so its process group.
APP = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"], start_new_session=True)
orphan = subprocess.Popen([sys.executable, "-c",
    "import os, sys, time\\nif os.fork(): sys.exit()\\nos.setsid()\\nprint(os.getpid(), flush=True)\\ntime.sleep(1000)"],
    stdout=subprocess.PIPE)
print(os.getpid(), child.pid, int(orphan.stdout.readline()), flush=True)
time.sleep(1000)
"""


# One that does not end when it is asked to.
DEAF = "import os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" \
       "print(os.getpid(), flush=True)\ntime.sleep(1000)\n"


class Guarded:
    def __init__(self, stage, app=True, text=APP, wait=True):
        names = ("gate", "peer", "admin", "ngate", "npeer", "nadmin", "app", "napp")
        self.port = {n: lib.free_port() for n in names}
        self.heard = []
        self.stage = stage
        conf = stage.write("bank.yaml", CONFIG.format(dir=stage.dir, **self.port))
        self.north = Server(stage, self.answer, port=self.port["npeer"])
        command = ["--", sys.executable, stage.write("app.py", text)] if app else []
        self.process = stage.fulmar("guard", "guard", "-c", conf, "--host", "west-1", *command,
                                    port=self.port["admin"] if wait else None)
        self.pids = []
        if wait:  # what answers has told its guard who it is
            wait_until("the agent answers", self.answers)
        if app:
            wait_until("the application runs", lambda: self.line())
            self.pids = [int(p) for p in self.line().split()]

    def answers(self):
        return lib.get(self.port["admin"], "/health/live").status == 200

    def line(self):
        lines = [x for x in self.process.output().splitlines() if x and x.replace(" ", "").isdigit()]
        return lines[0] if lines else ""

    def answer(self, request):
        if request.target == "/peer/1/post":  # the agent asks for other things, too
            self.heard.append((time.monotonic(), json.loads(request.body)))
        return reply(200, b"{}")

    def testimonies(self):
        return [(at, m) for at, post in self.heard for m in post.get("messages", [])
                if m.get("kind") == "testify" and post["from"] == "west-1"]

    def agent(self):
        return processes.agent_below(self.process.pid)


def gone(pid):
    return not processes.is_alive(pid)


def test_killed_agent(stage):
    """kill -9 of the agent: what it guards is dead, all of it, before it says so; and it ends with 1."""
    g = Guarded(stage)
    killed = time.monotonic()
    os.kill(g.agent(), signal.SIGKILL)
    check_equal(g.process.wait(), 1, "exit code")
    check(all(gone(p) for p in g.pids), f"of {g.pids} some live on: {[p for p in g.pids if not gone(p)]}")
    said = g.testimonies()
    check(len(said) >= 1, "nobody was told")
    check(all(m["ok"] and m["life"] > 0 for _, m in said), f"{said}")
    print(f"# told after {(said[0][0] - killed) * 1000:.0f} ms", flush=True)


def test_frozen_agent(stage):
    """An agent that is stopped is ended within its lease."""
    g = Guarded(stage)
    os.kill(g.agent(), signal.SIGSTOP)
    check_equal(g.process.wait(), 1, "exit code")
    check(all(gone(p) for p in g.pids), "the application lives on")
    check(g.testimonies(), "nobody was told")


def test_without_an_application(stage):
    """What is not guarded may go on writing: the testimony does not claim otherwise."""
    g = Guarded(stage, app=False)
    os.kill(g.agent(), signal.SIGKILL)
    check_equal(g.process.wait(), 1, "exit code")
    check(all(not m["ok"] for _, m in g.testimonies()), f"{g.testimonies()}")


def test_in_order(stage):
    """SIGTERM ends agent and application in order, and nothing is testified."""
    g = Guarded(stage)
    check_equal(g.process.stop(), 0, "exit code")
    check_equal(g.testimonies(), [], "testimonies")
    wait_until("all are gone", lambda: all(gone(p) for p in g.pids))


def test_in_order_at_once(stage):
    """So it is for one whose agent has just begun."""
    g = Guarded(stage, app=False, wait=False)
    wait_until("there is an agent", g.agent)
    check_equal(g.process.stop(), 0, "exit code")
    check_equal(g.testimonies(), [], "testimonies")


def test_deaf_application(stage):
    """An application that does not end when it is asked to is killed after edge.drain.finish."""
    g = Guarded(stage, text=DEAF)
    check_equal(g.process.stop(), 0, "exit code")
    check(all(gone(p) for p in g.pids), "the application lives on")
    check("application_killed" in g.process.output(), "nothing is said of it")


def test_asked_twice(stage):
    """Asked again, nobody is waited for."""
    g = Guarded(stage, text=DEAF)
    agent = g.agent()
    g.process.signal(signal.SIGTERM)
    wait_until("the agent has ended", lambda: gone(agent))
    g.process.signal(signal.SIGTERM)
    check_equal(g.process.wait(), 0, "exit code")
    check(all(gone(p) for p in g.pids), "the application lives on")


def test_what_cannot_be_started(stage):
    """A host that is not in the file, an application that is not there: it says so, and leaves nobody."""
    g = Guarded(stage, app=False)
    check_equal(g.process.stop(), 0, "exit code")
    conf = str(stage.path("bank.yaml"))
    for code, host, command in ((78, "west-9", []), (1, "west-1", ["--", "/no/such/program"])):
        failed = stage.start("failed", [lib.FULMAR, "guard", "-c", conf, "--host", host, *command])
        check_equal(failed.wait(), code, f"exit code: {failed.output()}")
        check("fulmar guard: " in failed.output(), failed.output())
    check(not lib.listens(g.port["admin"]), "its agent lives on")


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_nobody_to_tell(stage):
    """Where nobody hears its testimony it tries for some seconds, and does not burn them."""
    g = Guarded(stage, app=False)
    g.north.kill()
    os.kill(g.agent(), signal.SIGKILL)
    wait_until("it testifies", lambda: '"testifies"' in g.process.output())
    before = cpu_seconds(g.process.pid)
    time.sleep(2)
    used = cpu_seconds(g.process.pid) - before
    check(used < 0.5, f"{used} s of CPU in 2 s")
    check_equal(g.process.wait(), 1, "exit code")
    check("testimony_not_heard" in g.process.output(), "nothing is said of it")


def test_killed_guard(stage):
    """The agent does not outlive its guard."""
    g = Guarded(stage)
    agent = g.agent()
    g.process.end_was_seen = True
    os.kill(g.process.pid, signal.SIGKILL)
    wait_until("the agent is gone", lambda: gone(agent))
    check_equal(g.testimonies(), [], "testimonies")


if __name__ == "__main__":
    lib.main(globals())
