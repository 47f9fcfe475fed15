#!/usr/bin/env python3
"""Random faults against a real PostgreSQL group, round after round, under clients that append. After each round all
faults are over, and nobody touches anything: is the group whole again, has it everything that it acknowledged, in the
order in which it did, and are its nodes one and the same history?

    soak_group.py [--seed N] [--rounds N] [--faults NAME[,NAME...]] [--nodes REGION,REGION[,REGION...]]

A round is drawn from its own seed, which is printed: --seed with that number repeats it as the first one.
FULMAR_SOAK_ROUNDS is how many (200), FULMAR_SOAK_SEED the seed of the first (of the clock),
FULMAR_SOAK_KEEP a folder for what a world that failed leaves behind."""

import argparse
import os
import pathlib
import random
import shutil
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "system"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import lib  # noqa: E402
from group_world import Group, now  # noqa: E402
from lib import check, check_equal, wait_until  # noqa: E402

ROUNDS = int(os.environ.get("FULMAR_SOAK_ROUNDS", "200"))
SEED = int(os.environ.get("FULMAR_SOAK_SEED", "0")) or int(time.time()) % 100000 * 1000
KEEP = os.environ.get("FULMAR_SOAK_KEEP")
FAULTS, NODES = [], ()
A_WORLD = 5  # rounds in it, then another one begins
WHOLE_S = 90.0  # for what takes elections, leases, a restart and a copy, on a busy machine
FLOW_S = 30.0
BEFORE_S, LATEST_S, LONGEST_S = 0.5, 3.0, 6.0

# -------- faults: each begins at its time, and ends --------


class Fault:
    """Of a host that is drawn as primary or standby, and found when it begins."""
    roles = ("primary", "standby")

    def __init__(self, group, role):
        self.group, self.role = group, role
        self.host = None

    def begin(self):
        self.host = self.group.role(self.role)
        self.strike()

    def strike(self):
        raise NotImplementedError

    def end(self):
        self.host.wake()
        self.host.start()


class PostmasterKilled(Fault):
    """SIGKILL of the postmaster alone, one of its backends frozen: that one outlives it."""

    def strike(self):
        postmaster = self.host.postmaster()
        backends = [p for p in self.host.servers() if p != postmaster]
        self.host.signal(signal.SIGSTOP, backends[-1:])
        self.host.signal(signal.SIGKILL, [postmaster] if postmaster else [])


class PostmasterFrozen(Fault):
    def strike(self):
        postmaster = self.host.postmaster()
        self.host.signal(signal.SIGSTOP, [postmaster] if postmaster else [])


class ServerFrozen(Fault):
    """The postmaster and all backends, while the agent goes on."""

    def strike(self):
        self.host.signal(signal.SIGSTOP, self.host.servers())


class AgentKilled(Fault):
    def strike(self):
        self.host.signal(signal.SIGKILL, [self.host.agent.pid] if self.host.agent.is_alive() else [])


class AgentStopped(Fault):
    """In order, as for an update."""

    def strike(self):
        self.agent = self.host.agent  # a fault beside this one may have started another by the end
        self.agent.signal(signal.SIGTERM)

    def end(self):
        self.host.wake()
        wait_until("an agent that was asked to end has ended", lambda: not self.agent.is_alive(), 30)
        super().end()


class AgentFrozen(Fault):
    def strike(self):
        self.host.signal(signal.SIGSTOP, [self.host.agent.pid] if self.host.agent.is_alive() else [])


class WardHit(Fault):
    which, signo = ("guard",), signal.SIGKILL

    def strike(self):
        wards = self.host.wards()
        self.host.signal(self.signo, [wards[k] for k in self.which if k in wards])


class GuardKilled(WardHit):
    pass


class SecondKilled(WardHit):
    which = ("second",)


class WardsKilled(WardHit):
    which = ("guard", "second")


class GuardFrozen(WardHit):
    signo = signal.SIGSTOP


class SecondFrozen(WardHit):
    which, signo = ("second",), signal.SIGSTOP


class AgentAndGuardKilled(WardHit):
    """Whoever watches the server is gone, but for the second."""

    def strike(self):
        super().strike()
        self.host.signal(signal.SIGKILL, [self.host.agent.pid] if self.host.agent.is_alive() else [])


class HostKilled(Fault):
    """Everything at once: power."""

    def strike(self):
        self.host.signal(signal.SIGKILL, self.host.everything())


class HostFrozen(Fault):
    def strike(self):
        self.host.signal(signal.SIGSTOP, self.host.everything())


class BothKilled(Fault):
    roles = ("primary",)

    def strike(self):
        for h in self.group.hosts:
            h.signal(signal.SIGKILL, h.everything())

    def end(self):
        for h in self.group.hosts:
            h.start()


class RegionCut(Fault):
    """From everybody: the other region, the witness, its share of coordination."""

    def strike(self):
        self.group.net.cut(self.host.region)

    def end(self):
        self.group.net.cut(self.host.region, off=False)


class RegionsParted(Fault):
    """From each other; both see coordination and the witness."""
    roles = ("primary",)

    def strike(self):
        self.group.net.part("west", "north")

    def end(self):
        self.group.net.part("west", "north", off=False)


class CoordinationLost(Fault):
    roles = ("primary",)

    def strike(self):
        for name in ("north", "east"):
            self.group.etcd[name].etcd.signal(signal.SIGSTOP)

    def end(self):
        for name in ("north", "east"):
            self.group.etcd[name].etcd.signal(signal.SIGCONT)


class CoordinationRestarted(Fault):
    roles = ("primary",)

    def strike(self):
        for name in ("west", "east"):
            self.group.etcd[name].etcd.kill()

    def end(self):
        for name in ("west", "east"):
            if not self.group.etcd[name].etcd.is_alive():
                self.group.etcd[name].start_etcd()


class DiskFull(Fault):
    roles = ("standby",)

    def strike(self):
        self.host.fill()

    def end(self):
        self.host.empty()


class DiskFullOfPrimary(DiskFull):
    roles = ("primary",)


DROP = """do $$ begin
  for i in 1..200 loop
    perform pg_terminate_backend(active_pid) from pg_replication_slots where active_pid is not null;
    begin
      perform pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name like 'fulmar%';
      return;
    exception when object_in_use then perform pg_sleep(0.01);
    end;
  end loop;
end $$"""


class SlotDropped(Fault):
    """The slots of the primary are gone; the log that the standby needs is still there."""
    roles = ("primary",)

    def strike(self):
        self.host.sql(DROP)


class SlotLost(Fault):
    """... and so is the log that the standby needs, which was frozen meanwhile."""
    roles = ("primary",)

    def strike(self):
        for h in self.group.hosts:
            if h is not self.host:
                h.signal(signal.SIGSTOP, h.servers())
        self.host.sql("alter system set wal_keep_size = 0")
        self.host.sql("select pg_reload_conf()")
        self.host.sql(DROP)
        for _ in range(3):
            self.host.sql("select pg_switch_wal()", 3)
            self.host.sql("checkpoint", 5)

    def end(self):
        for h in self.group.hosts:
            h.wake()
        self.host.sql("alter system reset wal_keep_size")
        self.host.sql("select pg_reload_conf()")


class Rewind(Fault):
    """The primary is cut off, writes what nobody gets, and is replaced; its rewind then goes wrong."""
    roles = ("primary",)
    how = "fails"

    def strike(self):
        for h in self.group.hosts:
            h.flag.write_text(self.how)
            os.chown(h.flag, self.group.owner.pw_uid, self.group.owner.pw_gid)
        self.group.net.cut(self.host.region)

    def end(self):
        self.group.net.cut(self.host.region, off=False)


class RewindLies(Rewind):
    how = "lies"


class RewindDies(Rewind):
    how = "dies"


class Move(Fault):
    """A planned move to the standby, in the middle of whatever else there is."""
    roles = ("standby",)

    def strike(self):
        self.group.fulmar("move", "ledger", "--to", self.host.region, "--reason", "a soak", "--timeout", "30s")

    def end(self):
        pass


KINDS = {k.__name__: k for k in (
    PostmasterKilled, PostmasterFrozen, ServerFrozen, AgentKilled, AgentStopped, AgentFrozen, GuardKilled, SecondKilled,
    WardsKilled, GuardFrozen, SecondFrozen, AgentAndGuardKilled, HostKilled, HostFrozen, BothKilled, RegionCut,
    RegionsParted, CoordinationLost, CoordinationRestarted, DiskFull, DiskFullOfPrimary, SlotDropped, SlotLost, Rewind,
    RewindLies, RewindDies, Move)}

# -------- a round --------


def draw(dice, group, kinds):
    """[(when it begins, how long it lasts, fault)]"""
    drawn = []
    for _ in range(dice.choice([1, 1, 2, 2, 3])):
        kind = KINDS[dice.choice(kinds)]
        begins, lasts = dice.uniform(0, LATEST_S), dice.choice([dice.uniform(0.1, 1.5), dice.uniform(1.5, LONGEST_S)])
        drawn.append((begins, lasts, kind(group, dice.choice(kind.roles))))
    return drawn


def strike(group, drawn):
    """Begin and end all of them, in their order."""
    start = time.monotonic()
    times = [(begins, True, fault) for begins, _, fault in drawn]
    times += [(begins + lasts, False, fault) for begins, lasts, fault in drawn]
    for at, begins, fault in sorted(times, key=lambda x: x[0]):
        time.sleep(max(0.0, start + at - time.monotonic()))
        if begins:
            fault.begin()
        elif fault.host:
            fault.end()
    for h in group.hosts:  # an agent that was killed by one fault may have been started by none
        h.wake()
        h.start()
        h.flag.unlink(missing_ok=True)
    group.start_witness()


def one_round(group, number, seed, kinds):
    dice = random.Random(seed)
    drawn = draw(dice, group, kinds)
    what = ", ".join(f"{type(f).__name__} of the {f.role} at {b:.1f} for {n:.1f} s" for b, n, f in drawn)
    print(f"# round {number}, seed {seed} ({group.beyond}): {what}", flush=True)
    group.append()
    wait_until("clients are served", lambda: group.acknowledged_since(0, "client") > 20, FLOW_S, every=0.05)
    time.sleep(BEFORE_S)
    strike(group, drawn)
    over = now()
    try:
        wait_until("the group is whole again", group.is_whole, WHOLE_S, every=0.1)
    except lib.Failure as failure:
        raise lib.Failure(f"{failure}: {group.why_not_whole()}") from None
    whole = now()
    wait_until("clients are served again", lambda: group.acknowledged_since(over, "client") > 20, FLOW_S, every=0.05)
    wait_until("a client beside the primary is served again",
               lambda: group.acknowledged_since(over, group.primary().region) > 20 if group.primary() else False,
               FLOW_S, every=0.05)
    group.end_appending()
    figures = judge(group)
    print(f"#   whole after {whole - over:.1f} s, {figures}", flush=True)


# -------- the checker --------


def check_lines(lines, rows):
    """What clients were told, against the history: all that was acknowledged is in it, in that order; nothing that was
    refused; and nobody acknowledged anything after another line of history had."""
    there = {(k, n): (pos, prev) for k, n, pos, prev in rows}
    lost = [x for x in lines if x["o"] == "acknowledged" and (x["k"], x["n"]) not in there]
    check(not lost, f"{len(lost)} acknowledged appends are lost, e.g. {lost[:3]}")
    wrongly = [x for x in lines if x["o"] == "failed" and (x["k"], x["n"]) in there]
    check(not wrongly, f"{len(wrongly)} refused appends are there, e.g. {wrongly[:3]}")
    sent = {(x["k"], x["n"]) for x in lines}
    foreign = [at for at in there if at not in sent]
    check(not foreign, f"{len(foreign)} appends are there that nobody sent, e.g. {foreign[:3]}")
    last = {}
    acknowledged = [x for x in lines if x["o"] == "acknowledged"]
    for x in acknowledged:
        at = x["k"], x["n"]
        check_equal((x["pos"], x["prev"]), there[at], f"the place of {at}, as it was told")
        before = last.get(x["k"], (0, 0))
        check(x["pos"] > before[1] and x["prev"] >= before[0], f"{at} did not see {before}: {x}")
        last[x["k"]] = x["n"], x["pos"]
    newest, when, by = 0, 0.0, None
    for x in sorted(acknowledged, key=lambda x: x["over"]):
        if x["line"] > newest or x["line"] == newest and not by:
            newest, when, by = x["line"], x["over"], x
        check(x["line"] == newest or x["sent"] <= when, f"{x} was acknowledged after {by}")
        check(x["line"] != newest or x["at"] == by["at"], f"two nodes acknowledge on one timeline: {x} and {by}")
    return f"{len(acknowledged)} acknowledged, {sum(x['o'] == 'unknown' for x in lines)} unknown, " \
        f"{len(lines) - len(acknowledged)} not, {len(there)} there"


SUM = "select count(*) || ' ' || coalesce(md5(string_agg(t::text, ',' order by k, n)), '') from t"
ROWS = "select string_agg(k || ' ' || n || ' ' || pos || ' ' || prev, ',') from t"
LINE = "select ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int"
LINE_RECEIVED = "select received_tli from pg_stat_wal_receiver"
SYSTEM = "select system_identifier from pg_control_system()"
BY_INDEX = "set enable_seqscan = off; set enable_bitmapscan = off; " \
    "select count(*) || ' ' || coalesce(md5(string_agg(n::text, ',' order by k, pos)), '') from t where k > 0"
BY_HEAP = "set enable_indexscan = off; set enable_indexonlyscan = off; set enable_bitmapscan = off; " \
    "select count(*) || ' ' || coalesce(md5(string_agg(n::text, ',' order by k, pos)), '') from t where k > 0"


def are_one(group):
    """Why the nodes are not one history at this moment; "" if they are."""
    primary = group.primary()
    if not primary:
        return "nobody, or more than one node, is primary"
    wanted = [primary.sql(text) for text in (SUM, LINE, SYSTEM)]
    for h in group.hosts:
        found = [h.sql(text) for text in (SUM, LINE if h is primary else LINE_RECEIVED, SYSTEM)]
        if None in found or found != wanted:
            return f"{h.name} has {found}, {primary.name} has {wanted}"
    return ""


def judge(group):
    try:
        wait_until("the nodes are one history", lambda: not are_one(group), FLOW_S, every=0.2)
    except lib.Failure as failure:
        raise lib.Failure(f"{failure}: {are_one(group)}") from None
    for h in group.hosts:
        by_index, by_heap = wait_until(f"the rows of {h.name} are read", lambda h=h: read_twice(h), FLOW_S, every=0.2)
        check_equal(by_index, by_heap, f"what indexes of {h.name} find")
        wait_until(f"two processes watch PostgreSQL of {h.name}", lambda h=h: len(h.wards()) == 2, FLOW_S, every=0.1)
    text = wait_until("the rows are read", lambda: group.role("primary").sql(ROWS, 30), FLOW_S, every=0.2)
    return check_lines(group.lines, [tuple(map(int, row.split())) for row in text.split(",")])


def read_twice(host):
    both = host.sql(BY_INDEX), host.sql(BY_HEAP)
    return None if None in both else both


# -------- running --------


def soak(stage, seed, rounds, kinds, **more):
    group = Group(stage, random.Random(seed // A_WORLD), **more).begin()
    for i in range(rounds):
        one_round(group, i + 1, seed + i, kinds)
    return group


def test_group(_):
    """The soak: every round ends with a whole group that lost nothing."""
    failed, done = [], 0
    while done < ROUNDS:
        stage = lib.Stage("soak-group")
        rounds = min(A_WORLD, ROUNDS - done)
        good = False
        try:
            soak(stage, SEED + done, rounds, FAULTS or list(KINDS), nodes=NODES)
            good = True
        except lib.Failure as failure:
            failed.append(f"of seed {SEED + done} on: {failure}")
            print(f"# FAILED {failed[-1]}", flush=True)
            if KEEP:  # a copy of everything but the disks
                shutil.copytree(stage.dir, pathlib.Path(KEEP) / str(SEED + done), symlinks=True, dirs_exist_ok=True,
                                ignore=lambda _, names: [n for n in names if n in ("bin", "base", "pg_wal") or n.endswith(".sock")])
        finally:
            stage.close(report=False)
        done += rounds
    check(not failed, f"{len(failed)} worlds failed: {failed}")


test_group.max_s = 120 * ROUNDS + 300

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--nodes", type=lambda s: tuple(s.split(",")), default=())
    parser.add_argument("--faults", type=lambda s: s.split(","), default=[])
    options, rest = parser.parse_known_args()
    SEED, ROUNDS, FAULTS, NODES = options.seed, options.rounds, options.faults, options.nodes
    test_group.max_s = 120 * ROUNDS + 300
    sys.argv[1:] = rest
    lib.main(globals())
