#!/usr/bin/env python3
"""What is done to a data directory of PostgreSQL, with real servers: made, started, copied, promoted,
rewound, and never started by mistake. pg_node_tool is src/pg/node.h as a program
(tests/unit/pg/tool.c)."""

import os
import pathlib
import pwd
import re
import shutil
import signal
import subprocess
import time

import lib
import processes
from lib import check, check_equal, wait_until

TOOL = pathlib.Path(os.environ.get("FULMAR_BUILD", lib.ROOT / "build")) / "tests/unit/pg_node_tool"
LONG_S = 120  # for programs of PostgreSQL on a busy machine
SLOT = "fulmar_slot"


def programs():
    """The folder of the newest PostgreSQL here."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"),
                   key=lambda p: int(p.parts[-3]))
    if not found:
        raise lib.Skip("postgresql is not installed")
    return found[-1].parent


class Answer:
    """Lines name=value; of those that come more than once all."""

    def __init__(self, code, text):
        self.code, self.text, self.values = code, text, {}
        for line in text.splitlines():
            name, equals, value = line.partition("=")
            if equals:
                self.values.setdefault(name, []).append(value)

    def __getitem__(self, name):
        check(name in self.values, f"nothing is said of {name}: {self.text}")
        return self.values[name][-1]

    def all(self, name):
        return self.values.get(name, [])


class Node:
    def __init__(self, stage, name):
        stage.dir.chmod(0o711)  # the servers' user has to get through
        self.stage, self.name = stage, name
        self.bin = programs()
        self.user = "postgres" if os.geteuid() == 0 else "-"
        self.uid = pwd.getpwnam("postgres").pw_uid if os.geteuid() == 0 else os.geteuid()
        self.data = stage.path(f"{name}/data")
        self.port = lib.free_port()
        self.server = None
        self.starts = 0

    def argv(self, *arguments):
        return [str(a) for a in (TOOL, self.bin, self.data, self.user, *arguments)]

    def run(self, *arguments, timeout_ms=LONG_S * 1000):
        """An operation, whatever came of it."""
        done = subprocess.run(self.argv(*arguments), stdin=subprocess.DEVNULL, text=True, timeout=LONG_S + 20,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              env={**os.environ, "TIMEOUT_MS": str(timeout_ms)})
        return Answer(done.returncode, done.stdout)

    def do(self, *arguments, **options):
        answer = self.run(*arguments, **options)
        check_equal(answer.code, 0, f"{self.name}: {arguments[0]}: {answer.text}")
        return answer

    def look(self):
        return self.do("look")

    def make(self):
        answer = self.do("make", self.port)
        check_equal(answer["found"], "data", "made")
        return self

    def copy_of(self, primary):
        answer = self.do("clone", self.port, primary.port, SLOT)
        check_equal((answer["found"], answer["standby"], answer["copy"]), ("data", "1", "1"), "copied")
        return answer

    def as_user(self, argv):
        return ["setpriv", f"--reuid={self.uid}", "--regid=postgres", "--init-groups", *argv] \
            if os.geteuid() == 0 else argv

    # -------- the server --------

    def serve(self, until=True):
        self.starts += 1
        self.server = self.stage.start(f"{self.name}-{self.starts}", self.argv("serve"))
        if until:
            wait_until(f"{self.name} answers", lambda: self.sql("select 1", fails=True) == "1"
                       or not self.server.is_alive(), LONG_S)
            check(self.server.is_alive(), f"{self.name} has ended: {self.server.output()}")
        return self

    def pid(self):
        return int(re.search(r"^pid=(\d+)$", self.server.output(), re.M)[1])

    def end(self, signo=signal.SIGTERM):
        self.server.signal(signo)
        check_equal(self.server.wait(LONG_S), 0, f"the tool: {self.server.output()}")
        return int(re.search(r"^status=(-?\d+)$", self.server.output(), re.M)[1])

    def workers(self):
        """The processes that work in the data directory."""
        return processes.at_home_in(self.data)

    def crash(self):
        """All of it at once."""
        self.server.end_was_seen = True
        while workers := self.workers():
            for pid in workers:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.01)
        self.server.wait()

    def sql(self, statement, fails=False):
        """As the superuser; what is printed. None where it fails and may."""
        done = subprocess.run([self.bin / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1",
                               "-p", str(self.port), "-U", "admin", "-d", "postgres", "-c", statement],
                              env={**os.environ, "PGPASSWORD": "the admin's \"secret\"",
                                   "PGCONNECT_TIMEOUT": "5"},
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LONG_S)
        if done.returncode and fails:
            return None
        check_equal(done.returncode, 0, f"{self.name}: {statement}: {done.stderr}")
        return done.stdout.strip()

    def role(self):
        self.sql(subprocess.run([TOOL, "role"], capture_output=True, text=True, check=True).stdout)

    def promote(self, timeline=0):
        started = time.monotonic()
        asked = self.do("promote", timeline)["took_ms"]
        wait_until(f"{self.name} is promoted", lambda: self.sql("select pg_is_in_recovery()") == "f", LONG_S)
        print(f"# asked for in {asked} ms, promoted after {(time.monotonic() - started) * 1000:.0f} ms", flush=True)

    def follows(self, primary):
        wait_until(f"{self.name} streams", lambda: primary.sql(
            "select count(*) from pg_stat_replication where state = 'streaming'") == "1", LONG_S)

    def has(self, rows):
        wait_until(f"{self.name} has {rows}", lambda: self.sql(
            "select string_agg(t, ' ' order by n) from rows", fails=True) == rows, LONG_S)

    def history(self):
        """The timeline and the file of its history."""
        look = self.look()
        timeline = int(look["timeline"])
        return timeline, self.data / "pg_wal" / f"{timeline:08X}.history" if timeline > 1 else "-"


def lsn(text):
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def pair(stage):
    """A primary with a standby that follows it."""
    west, north = Node(stage, "west"), Node(stage, "north")
    west.make().serve()
    west.role()
    west.sql("create table rows (n int primary key, t text)")
    west.sql("insert into rows values (1, 'first')")
    north.copy_of(west)
    north.serve()
    north.follows(west)
    return west, north


def split(stage):
    """North was promoted while west went on: each has a row that the other one has not."""
    west, north = pair(stage)
    north.promote()
    west.sql("insert into rows values (2, 'west')")
    north.sql("insert into rows values (2, 'north')")
    return west, north


def test_planned(stage):
    """Made, copied, moved without a loss; the old primary follows as it is."""
    west, north = pair(stage)
    look = west.look()
    check_equal((look["found"], look["state"], look["timeline"], look["checksums"], look["logical"], look["lock"]),
                ("data", "in production", "1", "1", "1", "1"), "west")
    check_equal(look["version"], west.bin.parts[-2], "version")
    check_equal(west.sql("select current_setting('wal_level') || current_setting('data_checksums')"
                         " || current_setting('password_encryption') || current_setting('lc_collate')"),
                "logicalonscram-sha-256C.UTF-8", "settings")
    check_equal(west.sql("select current_setting('my.text')"), "it's a \\", "a setting in quotes")
    for pid in west.workers():
        try:
            status = pathlib.Path(f"/proc/{pid}/status").read_text()
        except FileNotFoundError:
            continue  # one that comes and goes
        check_equal(set(re.search(r"^Uid:(.*)$", status, re.M)[1].split()), {str(west.uid)}, "whose servers")
    for name in ("fulmar.conf", "fulmar.hba", "fulmar.pass"):
        st = (west.data / name).stat()
        check_equal((oct(st.st_mode & 0o7777), st.st_uid), ("0o600", west.uid), name)

    west.sql("insert into rows values (2, 'second')")
    north.has("first second")
    check_equal(west.end(), 0, "status")
    final = west.look()
    check_equal((final["state"], final["lock"]), ("shut down", "0"), "west stopped fast")
    wait_until("north has replayed the shutdown checkpoint",
               lambda: lsn(north.sql("select pg_last_wal_replay_lsn()")) > lsn(final["checkpoint"]), LONG_S)
    north.promote(4)  # 2 and 3 may be others'
    check_equal(north.sql("checkpoint; select timeline_id from pg_control_checkpoint()"), "4", "timeline")
    origin = north.look()
    check_equal(origin["origin"], "1", "where north comes from")
    check(lsn(origin["origin_end"]) > lsn(final["checkpoint"]), "north left its timeline too early")

    timeline, history = north.history()
    answer = west.do("follows", timeline, history, final["system_id"])
    check_equal((answer["relation"], answer["fork_timeline"], answer["fork"]),
                ("can follow", "1", origin["origin_end"]), "west")
    check_equal(west.do("follows", timeline, history, 4711)["relation"], "has nothing in common", "a stranger")
    north.sql("insert into rows values (3, 'third')")
    answer = west.do("rewind", west.port, north.port, SLOT, timeline, history, "only")
    check_equal(answer["way"], "as-it-was", "west")
    west.serve()
    west.follows(north)
    west.has("first second third")


def test_split(stage):
    """A primary that went on alone is told from one that did not, whether it was stopped or crashed, and
    rewound: what only it had is gone."""
    west, north = split(stage)
    timeline, history = north.history()
    west.crash()
    look = west.look()
    check_equal((look["state"], look["lock"]), ("in production", "1"), "west crashed")
    answer = west.do("follows", timeline, history, look["system_id"])
    check(answer["relation"] in ("crashed, may have diverged", "has diverged"), answer["relation"])

    # at once: up to 15 the new primary's checkpoint may not be there yet
    answer = west.do("rewind", west.port, north.port, SLOT, timeline, history, "only")
    check_equal((answer["way"], answer["standby"]), ("rewound", "1"), answer.text)
    print(f"# rewound in {answer['took_ms']} ms", flush=True)
    west.serve()
    west.follows(north)
    west.has("first north")

    # and once more the other way round, with a primary that was stopped in order
    west.promote()
    north.sql("insert into rows values (3, 'north alone')")
    west.sql("insert into rows values (3, 'west again')")
    check_equal(north.end(), 0, "status")
    timeline, history = west.history()
    answer = north.do("follows", timeline, history, look["system_id"])
    check_equal(answer["relation"], "has diverged", "north")
    west.sql(f"select pg_create_physical_replication_slot('{SLOT}')")
    answer = north.do("rewind", north.port, west.port, SLOT, timeline, history, "only")
    check_equal(answer["way"], "rewound", answer.text)
    north.serve()
    north.follows(west)
    north.has("first north west again")


def test_rewind_that_fails(stage):
    """Where pg_rewind fails there is nothing that could be started, until it is copied; or it is copied
    at once."""
    west, north = split(stage)
    timeline, history = north.history()
    north.sql("revoke execute on function pg_read_binary_file(text, bigint, bigint, boolean), "
              "pg_read_binary_file(text) from fulmar_replication")
    west.crash()
    answer = west.run("rewind", west.port, north.port, SLOT, timeline, history, "only")
    check_equal((answer.code, answer["ok"]), (1, "0"), answer.text)
    check(answer["why"].startswith("cannot rewind: exit code 1"), answer["why"])
    check(any("permission denied" in said for said in answer.all("said")), answer.text)
    check_equal(west.look()["found"], "unfinished", "what is left")
    refused = west.run("serve")
    check_equal(refused.code, 2, "a start")
    check("is not whole" in refused["refused"], refused.text)

    answer = west.do("rewind", west.port, north.port, SLOT, timeline, history, "or-clone")
    check_equal(answer["way"], "cloned", answer.text)
    west.serve()
    west.follows(north)
    west.has("first north")

    west.promote()
    west.sql("insert into rows values (3, 'west')")
    north.sql("insert into rows values (3, 'north')")
    timeline, history = north.history()
    west.crash()
    answer = west.do("rewind", west.port, north.port, SLOT, timeline, history, "or-clone")
    check_equal(answer["way"], "cloned", answer.text)
    check(answer["why"].startswith("cannot rewind: "), answer["why"])
    west.serve()
    west.has("first north north")


def test_nothing_is_removed_in_vain(stage):
    """An upstream that cannot be reached costs nothing; a server that runs, somebody's files and data
    that are there are left alone."""
    west, north = Node(stage, "west"), Node(stage, "north")
    north.make()
    before = north.look().text
    nobody = lib.free_port()
    for verb in (["clone", north.port, nobody, SLOT],
                 ["rewind", north.port, nobody, SLOT, 3, stage.write("h", "1\t0/100\n2\t0/110\n"), "or-clone"]):
        answer = north.run(*verb)
        check_equal(answer.code, 1, answer.text)
        check("cannot reach the upstream" in answer["why"] and "refused" in answer["why"], answer["why"])
        check_equal(re.sub("took.*", "", north.look().text), re.sub("took.*", "", before), verb[0])
    check("already" in north.run("make", north.port)["why"], "it is made twice")

    north.serve()
    for verb in (["clone", north.port, nobody, SLOT], ["make", north.port],
                 ["rewind", north.port, nobody, SLOT, 1, "-", "or-clone"]):
        answer = north.run(*verb)
        check_equal(answer.code, 1, answer.text)
        check("works in" in answer["why"], answer["why"])

    stage.write("west/data/letter", "dear")
    if os.geteuid() == 0:
        os.chown(west.data, west.uid, -1)
    check_equal(west.look()["found"], "foreign", "a letter")
    for verb in (["clone", west.port, north.port, SLOT], ["make", west.port], ["configure", west.port]):
        answer = west.run(*verb)
        check_equal(answer.code, 1, answer.text)
    check_equal([p.name for p in west.data.iterdir()], ["letter"], "what is there")


def test_interrupted(stage):
    """Whatever ends an operation early, nothing is started that is not whole, and the next one begins
    anew."""
    node = Node(stage, "west")
    answer = node.run("make", node.port, timeout_ms=150)
    check_equal(answer.code, 1, answer.text)
    check("killed" in answer["why"] or "time" in answer["why"], answer["why"])
    check_equal(node.run("serve").code, 2, "a start")
    for again in range(10):  # this one may be so slow that it has been made
        making = stage.start(f"killed-{again}", node.argv("make", node.port))
        base = node.data / "fulmar.making" / "base"
        wait_until("it makes", lambda m=making, b=base: b.exists() or not m.is_alive(), LONG_S)
        making.kill()
        wait_until("nobody works", lambda: not (processes.below(node.data) or subprocess.run(
            ["pgrep", "-f", str(node.data)], capture_output=True).stdout), LONG_S)
        if node.look()["found"] != "data":
            break
        shutil.rmtree(node.data)
    check_equal(node.look()["found"], "unfinished", "what is there")
    check_equal(node.run("serve").code, 2, "a start")
    node.make()
    # whole, and killed on its way up: any operation goes on
    made, user = node.data / "fulmar.made", node.as_user([])
    subprocess.run([*user, "mkdir", made], check=True)
    for name in ("global", "base", "PG_VERSION"):
        subprocess.run([*user, "mv", node.data / name, made], check=True)
    check_equal(node.run("serve").code, 2, "a start")
    check_equal(node.look()["found"], "data", "what is there")
    check(not made.exists(), "it is still on its way")
    node.serve()
    check_equal(node.end(signal.SIGINT), 0, "status of an immediate stop")
    check_equal(node.look()["state"], "in production", "after that")


def test_server_and_who_started_it(stage):
    """A server does not outlive who started it, and a file that a crash left does not keep it from
    starting again."""
    node = Node(stage, "west").make().serve()
    workers = node.workers()
    check(len(workers) > 3, f"{workers}")
    node.server.end_was_seen = True
    os.kill(node.server.pid, signal.SIGKILL)
    wait_until("all are gone", lambda: not node.workers(), LONG_S)
    check_equal(node.look()["lock"], "0", "it was a shutdown, though an immediate one")

    node.serve().crash()
    other = stage.start("other", node.as_user(["sleep", "1000"]))
    wait_until("it is the user's", lambda: processes.argv_of(other.pid)[:1] == [b"sleep"])  # no other's counts
    lock = node.data / "postmaster.pid"
    lines = lock.read_text().splitlines()
    lock.write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
    node.serve(until=False)
    node.server.wait(LONG_S)
    check("lock file" in node.server.output(), node.server.output())
    node.do("configure", node.port)
    check_equal(node.look()["lock"], "0", "the file of nobody")
    node.serve()
    # now the file is its own: it is told of the change
    before = node.sql("select pg_conf_load_time()")
    node.do("configure", node.port)
    wait_until("it has read its files", lambda: node.sql("select pg_conf_load_time()") != before, LONG_S)
    check_equal(node.look()["lock"], "1", "the file of a server that runs")
    other.kill()


def test_whose_server_it_is(stage):
    """Never as root; as nobody that is not there."""
    node = Node(stage, "west")
    for user in ("root", "no-such-user"):
        node.user = user
        refused = node.run("look")
        check_equal(refused.code, 2, refused.text)
        check(user in refused["refused"], refused.text)
    if os.geteuid() == 0:
        node.user = "-"
        check("does not run as root" in node.run("look")["refused"], "as root")


if __name__ == "__main__":
    lib.main(globals())
