#!/usr/bin/env python3
"""The loss of a PostgreSQL group is bounded: what may be acknowledged beyond the standby, with real agents and real
PostgreSQL. A standby that gets nothing is made by stopping the server process that sends to it."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import threading
import time

import lib
from lib import check, check_equal, wait_until
from test_authority import LEASE_S, PATIENCE_S
from test_group import LONG_LEASE, Group
from test_group_yield import Towers

MAX_LOSS = 64 * 1024
STILL_S = 2.0  # no acknowledgement for so long: they have stopped


def lsn(text):
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


class Writer:
    """Inserts numbers, one after the other, at one node; of each that was acknowledged it remembers a place of the log
    that its commit lies behind."""

    def __init__(self, group, region):
        self.acknowledged = []  # (number, place, when)
        self.running = True
        self.psql = subprocess.Popen(group.psql(region, "-At"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     stderr=subprocess.DEVNULL, bufsize=0, env=group.env)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        n = 0
        try:
            while self.running:
                n += 1
                self.psql.stdin.write(b"insert into t values (%d) returning pg_current_wal_insert_lsn();\n" % n)
                place = self.psql.stdout.readline()
                done = self.psql.stdout.readline()
                if not done.startswith(b"INSERT"):
                    return
                self.acknowledged.append((n, lsn(place.decode()), time.monotonic()))
        except OSError:
            pass

    def stop(self):
        self.running = False
        self.psql.kill()
        self.thread.join(5)
        self.psql.wait()

    def goes_on(self, n=20):
        have = len(self.acknowledged)
        wait_until(f"{n} more rows are acknowledged", lambda: len(self.acknowledged) >= have + n, PATIENCE_S)

    def wait_until_it_stands(self):
        def stands():
            return self.acknowledged and time.monotonic() - self.acknowledged[-1][2] > STILL_S
        wait_until("acknowledgements stop", stands, PATIENCE_S)


def begin(stage, beyond, failover=None, mode="async", lease=LONG_LEASE, **max_loss):
    g = Group(stage, failover=failover, lease=lease)
    conf = json.loads(g.conf.read_text())
    conf["groups"]["ledger"]["replication"] = {"mode": mode, "beyond": beyond}
    if max_loss:
        conf["groups"]["ledger"]["replication"]["max-loss"] = max_loss
    g.conf.write_text(json.dumps(conf))
    g.begin().create()
    g.wait_for_redundancy("west")
    return g


def loss(g, region="west"):
    return (g.node(region).get("credit") or {}).get("loss_if_now") or {}


def wait_for_kind(g, kind, region="west"):
    wait_until(f"the bound is {kind}: {g.node(region)}", lambda: loss(g, region).get("kind") == kind, PATIENCE_S)


def sender(g, sig, at="west", to="north-1"):
    """The server process of west that sends the log to the standby: stopped, nothing of it gets there any more."""
    def found():  # one that a slow machine has lost comes back, and who was there before goes
        pid = g.sql(at, f"select pid from pg_stat_replication where application_name = '{to}' and state = 'streaming'")
        return pid if pid and pid.isdigit() else None

    pid = wait_until(f"{at} sends to {to}", found, PATIENCE_S)
    os.kill(int(pid), sig)
    return int(pid)


def kill_region(g):
    """The agent of west, its guards and all of PostgreSQL, at once."""
    g.kill("west-1")
    for pid in g.postgres_of("west"):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def check_loss(g, w, bound, at_least=0):
    """What was acknowledged and is not in north is no more than the bound; how many rows, and bytes of the log."""
    rows = wait_until("the rows are read", lambda: g.sql("north", "select coalesce(string_agg(i::text, ','), '0') from t"),
                      PATIENCE_S)
    there = {int(x) for x in rows.split(",")}
    lost = [(n, place) for n, place, _ in w.acknowledged if n not in there]
    kept = [place for n, place, _ in w.acknowledged if n in there]
    size = lost[-1][1] - kept[-1] if lost else 0
    print(f"# {len(w.acknowledged)} rows acknowledged, {len(lost)} lost: {size} bytes of log, at most {bound} said",
          flush=True)
    check(size <= bound, f"{size} bytes are lost, {bound} may be")
    check(len(lost) >= at_least, f"only {len(lost)} acknowledged rows are lost: nothing is shown by that")


def test_block_writes(stage):
    """The standby stands still: acknowledgements stop within the credit and what is under way, and go on when it
    wakes; group status says what would be lost."""
    g = begin(stage, "block-writes", bytes="64KiB")
    wait_for_kind(g, "enforced")
    w = Writer(g, "west")
    w.goes_on()
    pid = sender(g, signal.SIGSTOP)
    w.wait_until_it_stands()
    has = lsn(g.sql("north", "select pg_last_wal_receive_lsn()"))
    far = w.acknowledged[-1][1] - has
    check(MAX_LOSS // 2 < far <= MAX_LOSS, f"{far} bytes beyond the standby were acknowledged of {MAX_LOSS}")
    credit = g.node("west")["credit"]
    check_equal((credit["waiting"], credit["held_up_by"]), (True, "north-1"), f"what the status says: {credit}")
    check(credit["loss_if_now"]["kind"] == "enforced" and far <= credit["loss_if_now"]["bytes"] <= MAX_LOSS,
          f"the bound: {credit}")
    shown = g.fulmar("group", "status", "ledger").stdout
    check("loss if now: at most 65536 bytes" in shown and "enforced" in shown, shown)
    # who cancels the wait is told that it is committed, and nothing bounds that
    check_equal(g.sql("west", "select bool_and(pg_cancel_backend(pid)) from pg_stat_activity where wait_event = 'SyncRep'"),
                "t", "the waits are cancelled")
    wait_for_kind(g, "estimate")
    os.kill(pid, signal.SIGCONT)
    w.goes_on(200)
    wait_for_kind(g, "enforced")
    w.stop()


def test_a_bound_in_time(stage):
    """The standby stands still with nearly all of the bytes left: acknowledgements stop all the same, since it lacks what
    is older than the time; they go on when it has it."""
    g = begin(stage, "block-writes", bytes="256MiB", time="1s")
    wait_for_kind(g, "enforced")
    w = Writer(g, "west")
    w.goes_on(200)
    pid = sender(g, signal.SIGSTOP)
    stopped = time.monotonic()
    w.wait_until_it_stands()
    has = lsn(g.sql("north", "select pg_last_wal_receive_lsn()"))
    far, late = w.acknowledged[-1][1] - has, w.acknowledged[-1][2] - stopped
    print(f"# {far} bytes beyond the standby were acknowledged, the last {late:.2f} s after it stopped", flush=True)
    check(far < 64 * 1024 * 1024, f"{far} bytes: it was the bytes that ran out")
    credit = g.node("west")["credit"]
    check_equal((credit["waiting"], credit["held_up_by"]), (True, "north-1"), f"what the status says: {credit}")
    os.kill(pid, signal.SIGCONT)
    w.goes_on(200)
    w.stop()
    g.judge()


def test_agent_frozen(stage):
    """SIGSTOP of the agent on the commit path: nothing is vouched for any more, its PostgreSQL ends with the lease, and
    the standby that takes over has what was acknowledged but for the credit."""
    g = begin(stage, "block-writes", lease=f"{LEASE_S:g}s", bytes="64KiB")
    wait_for_kind(g, "enforced")
    w = Writer(g, "west")
    w.goes_on()
    metronome = lib.Metronome(stage)
    at, at_ns = time.monotonic(), time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    g.freeze("west-1")
    wait_until("north is primary", lambda: g.node("north").get("state") == "primary", PATIENCE_S)
    late = w.acknowledged[-1][2] - at
    stalled = metronome.stalled_s(at_ns, at_ns + late * 1e9)
    check(late <= LEASE_S + stalled, f"acknowledged {late:.3f} s after the agent froze; {stalled:.3f} s nobody ran")
    w.stop()
    check_loss(g, w, MAX_LOSS)
    g.freeze("west-1", wake=True)
    g.wait_for_states(north="primary", west="standby")


def test_primary_killed(stage):
    """The primary dies while the standby is behind: acknowledged writes are lost, no more than the bound that was shown
    before, and it fails over by itself, because that is within max-loss."""
    g = begin(stage, "block-writes", bytes="64KiB")
    wait_for_kind(g, "enforced")
    w = Writer(g, "west")
    w.goes_on()
    sender(g, signal.SIGSTOP)
    w.goes_on(50)
    bound = loss(g)
    check_equal(bound["kind"], "enforced", f"the kind of the bound: {bound}")
    kill_region(g)
    w.stop()
    wait_until("north is primary", lambda: g.node("north").get("state") == "primary", PATIENCE_S)
    check(bound["bytes"] <= MAX_LOSS, f"the bound is above max-loss: {bound}")
    check_loss(g, w, bound["bytes"], at_least=20)
    g.start("west-1")
    g.wait_for_states(north="primary", west="standby")


def test_no_automatic(stage):
    """The standby stands still and is left behind: commits go on, the bound is unbounded, nobody fails over by itself,
    and it says why; when the primary is back and the standby has caught up, the bound is enforced again."""
    g = begin(stage, "no-automatic", bytes="64KiB")
    wait_for_kind(g, "enforced")
    w = Writer(g, "west")
    w.goes_on()
    sender(g, signal.SIGSTOP)
    wait_for_kind(g, "unbounded")
    w.goes_on(500)
    wait_until("group status says it", lambda: "loss if now: not bounded" in g.fulmar("group", "status", "ledger").stdout,
               PATIENCE_S)
    kill_region(g)
    w.stop()

    def refused():
        log = stage.path("north-1.log").read_text()
        return '"to":"asking","why":"loss"' in log and "loss not bounded" in log
    wait_until("the failover is refused for the loss", refused, PATIENCE_S)
    time.sleep(2 * LEASE_S)
    check(g.node("north").get("state") != "primary", "north took over with a loss that nobody accepted")
    g.start("west-1")
    g.wait_for_states(west="primary", north="standby")
    wait_for_kind(g, "enforced")
    w = Writer(g, "west")
    w.goes_on()
    w.stop()


def test_lowered(stage):
    """A role whose commits wait for nobody is seen: the bound is an estimate while it is so, and until the standby has
    passed what it may have written."""
    g = begin(stage, "no-automatic", bytes="64KiB")
    wait_for_kind(g, "enforced")
    check(g.sql("west", "create role hasty; alter role hasty set synchronous_commit = off") is not None, "no role is made")
    wait_for_kind(g, "estimate")
    wait_until("it is said whose commits wait for nobody",
               lambda: (g.node("west").get("credit") or {}).get("lowered_for") == "role hasty", PATIENCE_S)
    check(g.sql("west", "alter role hasty reset all") is not None, "the role cannot be changed")
    wait_for_kind(g, "enforced")


def test_sync(stage):
    """A credit of 0: the standby is waited for by PostgreSQL itself, nothing that was acknowledged is lost with the
    primary, and nothing would be."""
    g = begin(stage, "block-writes", mode="sync")
    wait_for_kind(g, "enforced")
    wait_until("nothing would be lost", lambda: loss(g)["bytes"] == 0, PATIENCE_S)
    w = Writer(g, "west")
    w.goes_on()
    sender(g, signal.SIGSTOP)
    w.wait_until_it_stands()
    kill_region(g)
    w.stop()
    wait_until("north is primary", lambda: g.node("north").get("state") == "primary", PATIENCE_S)
    rows = wait_until("the rows are read", lambda: g.sql("north", "select string_agg(i::text, ',') from t"), PATIENCE_S)
    rows = {int(x) for x in rows.split(",")}
    lost = [n for n, _, _ in w.acknowledged if n not in rows]
    check(not lost, f"{len(lost)} acknowledged rows are lost")


def stored(g):
    """What coordination has: {key: value}. Its owner lets nobody else in, so a copy is read; it writes meanwhile, and
    what it has brought from the log into the file between two looks would be in neither."""
    file, log = g.stage.path("c.db"), g.stage.path("c.db-wal")

    def copied():
        first, copy = file.read_bytes(), log.read_bytes()
        if file.read_bytes() != first or log.read_bytes()[:32] != copy[:32]:
            return False
        g.stage.path("copy.db").write_bytes(first)
        g.stage.path("copy.db-wal").write_bytes(copy)
        return True

    wait_until("a copy of the file is whole", copied, PATIENCE_S)
    with contextlib.closing(sqlite3.connect(g.stage.path("copy.db"))) as db:
        return {bytes(k).decode(): v for k, v in db.execute("select key, value from kv")}


def recorded_credit(g):
    """What the record of the cell says that may be acknowledged beyond a standby; none: nothing bounds it."""
    cells = [json.loads(v) for k, v in stored(g).items() if "/cell" in k]
    credit = [c["evidence"]["credit"] for c in cells if c.get("evidence")]
    check_equal(len(credit), 1, f"cells with evidence: {cells}")
    return None if credit[0] == str(2**64 - 1) else int(credit[0])


def test_the_record_is_ahead_of_a_bound_that_goes(stage):
    """A group that was `sync` is told to bound nothing any more: commits wait for nobody only once the record says so,
    for survivors go by that. And back."""
    g = begin(stage, "no-automatic", {"mode": "assisted"}, mode="sync")
    wait_for_kind(g, "enforced")
    check_equal(recorded_credit(g), 0, "the credit that is recorded")
    w = Writer(g, "west")
    w.goes_on()
    conf = json.loads(g.conf.read_text())

    def names():
        return g.sql("west", "show synchronous_standby_names")

    for i, mode in enumerate(("async", "sync") * 6):
        conf["groups"]["ledger"]["replication"]["mode"] = mode
        g.conf.write_text(json.dumps(conf))
        before = {k: v for k, v in stored(g).items() if "config" in k}
        check(before, f"no configuration is stored: {list(stored(g))}")
        order = subprocess.Popen([lib.FULMAR, "config", "apply", "-c", g.conf, "--host", "west-1", "--reason", "a test"],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until("it is agreed", lambda: {k: v for k, v in stored(g).items() if "config" in k} != before,
                   PATIENCE_S, every=0.001)
        time.sleep(0.001 * i)
        g.freeze("owner")  # nothing more is recorded for a while
        credit = recorded_credit(g)
        until = time.monotonic() + 0.4
        while time.monotonic() < until:
            check(names() != "" or credit is None,
                  f"commits wait for nobody, and survivors believe in a bound of {credit} bytes")
        g.freeze("owner", wake=True)
        check_equal(order.wait(PATIENCE_S), 0, "exit code of config apply")
        wait_until(f"the server is {mode}", lambda: (names() == "") == (mode == "async"), PATIENCE_S)
        wait_until(f"the record says {mode}", lambda: (recorded_credit(g) is None) == (mode == "async"), PATIENCE_S)
        w.goes_on()
    w.stop()


def begin_towers(stage, beyond, in_region):
    """Two nodes in west, one in north."""
    g = Towers(stage, lease=LONG_LEASE)
    conf = json.loads(g.conf.read_text())
    conf["groups"]["ledger"]["replication"] = {"mode": "async", "beyond": beyond, "max-loss": {"bytes": "64KiB"}}
    if in_region:
        conf["groups"]["ledger"]["replication"]["in-region"] = in_region
    g.conf.write_text(json.dumps(conf))
    g.begin().create()
    g.wait_for_standbys("west-1", 2)
    wait_for_kind(g, "enforced", "west-1")
    return g


def wait_for_in_region(g, size):
    """Until that is what would be lost within the region, if the primary were lost."""
    wanted = {"kind": "enforced", "bytes": size}
    wait_until(f"{size} bytes would be lost within the region: {g.node('west-1').get('credit')}",
               lambda: wanted.items() <= (loss(g, "west-1").get("in_region") or {}).items(), PATIENCE_S)


def check_all_there(g, w, node):
    rows = wait_until("the rows are read", lambda: g.sql(node, "select coalesce(string_agg(i::text, ','), '0') from t"),
                      PATIENCE_S)
    there = {int(x) for x in rows.split(",")}
    lost = [n for n, _, _ in w.acknowledged if n not in there]
    print(f"# {len(w.acknowledged)} rows acknowledged, {len(lost)} lost in {node}", flush=True)
    check(not lost, f"{len(lost)} acknowledged rows are lost in {node}: {lost[:10]}")


def test_in_region(stage):
    """`in-region: sync`: the standby in the region of the primary stands still, and commits wait at once; the one in the
    other region does, and they go on as far as the credit goes. The host of the primary dies while the other region is
    behind: the node of its own region goes on, and nothing that was acknowledged is lost, as was shown before."""
    g = begin_towers(stage, "block-writes", "sync")
    wait_for_in_region(g, 0)
    w = Writer(g, "west-1")
    w.goes_on()
    pid = sender(g, signal.SIGSTOP, "west-1", "west-2")
    w.wait_until_it_stands()
    has = lsn(g.sql("west-2", "select pg_last_wal_receive_lsn()"))
    check(w.acknowledged[-1][1] <= has, f"acknowledged was {w.acknowledged[-1][1] - has} bytes beyond west-2")
    credit = g.node("west-1")["credit"]
    check_equal((credit["waiting"], credit["held_up_by"]), (True, "west-2"), f"what the status says: {credit}")
    os.kill(pid, signal.SIGCONT)
    w.goes_on()

    pid = sender(g, signal.SIGSTOP, "west-1", "north-1")
    w.goes_on(50)
    shown = g.fulmar("group", "status", "ledger").stdout
    check("; nothing within the region" in shown, shown)
    w.wait_until_it_stands()
    far = w.acknowledged[-1][1] - lsn(g.sql("north-1", "select pg_last_wal_receive_lsn()"))
    check(MAX_LOSS // 2 < far <= MAX_LOSS, f"{far} bytes beyond north-1 were acknowledged of {MAX_LOSS}")
    check_equal(g.node("west-1")["credit"]["held_up_by"], "north-1", "who holds commits up")
    os.kill(pid, signal.SIGCONT)
    w.goes_on(200)

    sender(g, signal.SIGSTOP, "west-1", "north-1")
    w.goes_on(50)
    bound = loss(g, "west-1")
    check(bound["bytes"] > 0, f"north-1 is behind, and the bound is {bound}")
    check_equal(bound["in_region"], {"kind": "enforced", "bytes": 0, "transactions": 0}, f"the bound: {bound}")
    g.kill_host("west-1")
    w.stop()
    g.wait_for_primary("west-2")
    check_all_there(g, w, "west-2")
    # alone in its region, it goes on with the credit of the other one
    g.wait_for_standbys("west-2", 1)
    w = Writer(g, "west-2")
    w.goes_on()
    w.stop()
    check(loss(g, "west-2").get("in_region") is None, f"nobody is left in the region: {loss(g, 'west-2')}")


def test_in_region_leaves(stage):
    """... with `no-automatic` it is no longer waited for when it holds commits up, and nobody says any more that nothing
    would be lost; when it has caught up, it is waited for again. The key is turned on and off meanwhile."""
    g = begin_towers(stage, "no-automatic", None)
    wait_for_in_region(g, MAX_LOSS)
    conf = json.loads(g.conf.read_text())
    for in_region, size in (("sync", 0), ("async", MAX_LOSS), ("sync", 0)):
        conf["groups"]["ledger"]["replication"]["in-region"] = in_region
        g.conf.write_text(json.dumps(conf))
        done = g.fulmar("config", "apply", "--reason", "a test")
        check_equal(done.returncode, 0, f"exit code of config apply: {done.stdout} {done.stderr}")
        wait_for_in_region(g, size)
    w = Writer(g, "west-1")
    w.goes_on()
    pid = sender(g, signal.SIGSTOP, "west-1", "west-2")
    wait_until("west-2 is left behind", lambda: loss(g, "west-1").get("in_region", {}) in (None, {}) or
               loss(g, "west-1")["in_region"]["kind"] == "unbounded", PATIENCE_S)
    w.goes_on(500)
    check("within the region" not in g.fulmar("group", "status", "ledger").stdout, "group status still says so")
    os.kill(pid, signal.SIGCONT)
    wait_for_in_region(g, 0)
    w.goes_on()
    w.stop()


if __name__ == "__main__":
    lib.main(globals())
