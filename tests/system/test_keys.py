#!/usr/bin/env python3
"""`idempotency: {by: gate}` with several gates in a region, with real processes: whichever gate is frozen or killed,
through whichever edge a client repeats, and wherever a planned move takes the cell, a key is executed once.

The application is this test: it counts what it executes by key, and stops no double."""

import collections
import json
import sqlite3
import threading
import time

import lib
from lib import check, check_equal, wait_until
from servers import reply
from test_authority import PATIENCE_S, Realm

REGIONS = {"west": 2, "north": 2, "east": 0}


class Bank(Realm):
    """Two regions of two gates and a witness, two edges, one context."""

    def __init__(self, stage, hold="300ms"):
        self.edges = {f"front-{i}": (lib.free_port(), lib.free_port()) for i in (1, 2)}
        context = {"topology": "active-passive", "home": "west", "routes": ["/**"],
                   "idempotency": {"key": "optional", "by": "gate"},
                   "timeouts": {"first-byte": "400ms", "total": "2s"},
                   "when-away": {"hold": hold, "commands": "reject"}}
        super().__init__(stage, regions=REGIONS, contexts={"ledger": context}, failover={"mode": "manual"})
        self.executed, self.lock, self.delay_s = collections.Counter(), threading.Lock(), 0.0
        for region, server in self.apps.items():
            server.answer = lambda request, r=region: self.execute(r, request)

    def execute(self, region, request):
        if request.method != "POST":
            return reply(200, region.encode())
        time.sleep(self.delay_s)
        with self.lock:
            self.executed[request.header("idempotency-key")] += 1
        return reply(201, f"done by {region}".encode())

    def begin(self):
        conf = json.loads(self.conf.read_text())
        conf["edge"] = {"workers": 1, "listen": [{"address": "127.0.0.1:1"}]}
        conf["probe"] = {"interval": "200ms", "fast-interval": "50ms"}
        for name, (_, admin) in self.edges.items():
            conf["hosts"][name] = {"region": "north", "roles": ["edge"], "address": "127.0.0.1",
                                   "admin": f"127.0.0.1:{admin}"}
        self.conf.write_text(json.dumps(conf))
        super().begin()
        for region in ("west", "north"):  # both gates of each know what the others have
            for name in self.agents(region):
                wait_until(f"{name} has caught up", lambda n=name: "caught_up" in self.processes[n].output(), PATIENCE_S)
        for name, (port, admin) in self.edges.items():
            own = {**conf, "edge": {**conf["edge"], "listen": [{"address": f"127.0.0.1:{port}"}]}}
            file = self.stage.write(f"{name}.yaml", json.dumps(own))
            self.stage.fulmar(name, "edge", "-c", file, "--host", name, port=admin)
        for port, _ in self.edges.values():
            for i in range(8):  # through both gates
                wait_until("commands are taken",
                           lambda p=port, i=i: self.post(p, f"probe-{p}-{i}").status == 201, PATIENCE_S, every=0.1)
        return self

    def post(self, port, key, timeout=20):
        return lib.request(port, "POST", "/pay", [("Idempotency-Key", key)], b"x", timeout=timeout)

    def repeat(self, port, key):
        """The same, until its outcome, which may lag, is there."""
        while True:
            answer = self.answer_to(lambda: self.post(port, key))
            if answer.status != 409 or b"key-in-flight" not in answer.body:
                return answer

    def ports(self):
        return [port for port, _ in self.edges.values()]

    def gate_port(self, name):
        return int(self.hosts[name]["gate"].split(":")[1])

    def journaled(self, name):
        """Keys that this gate has in its journal."""
        with sqlite3.connect(f"file:{self.stage.path(name) / 'journal.db'}?mode=ro", uri=True) as db:
            return {key for key, in db.execute("SELECT key FROM command")}

    def twice(self):
        with self.lock:
            return sorted(key for key, n in self.executed.items() if n > 1)

    def move(self, to):
        by = self.agents(to)[0]
        op = wait_until(f"a move to {to} is taken", lambda: (
            doc := self.order(by, "move", context="ledger", to=to)).get("id") and doc, PATIENCE_S, every=0.1)
        self.wait_for_op(by, op["id"], "done")
        self.wait_for("ledger", to)


class Clients:
    """Each sends one command after the other, each with a key of its own; what fails, or may have, is repeated through
    the other edge, at once and, if that does not help, now and then until it has an answer."""

    def __init__(self, bank, n=6):
        self.bank, self.going = bank, True
        self.done, self.statuses, self.failures = {}, collections.Counter(), []
        self.threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(n)]
        for t in self.threads:
            t.start()

    def _run(self, me):
        try:
            n, later = 0, collections.deque()
            while self.going:
                key, n = f"c{me}-{n}", n + 1
                if not self._ask(key, me + n) and not self._ask(key, me + n + 1):
                    later.append(key)
                if later and n % 5 == 0 and self._ask(later[0], n):
                    later.popleft()
                later.rotate(-1)
                time.sleep(0.005)
            end = time.monotonic() + 60
            while later and time.monotonic() < end:
                n += 1
                if self._ask(later[0], n):
                    later.popleft()
                later.rotate(-1)
            check(not later, f"no end to {list(later)[:3]}")
        except Exception as failure:
            self.failures.append(repr(failure))

    def _ask(self, key, edge):
        """Has it an end?"""
        ports = self.bank.ports()
        try:
            answer = self.bank.post(ports[edge % len(ports)], key)
        except (OSError, lib.Failure):
            self.statuses["no answer"] += 1
            return False
        self.statuses[answer.status] += 1
        if answer.status == 201 or (answer.status == 409 and b"outcome-unknown" in answer.body):
            self.done[key] = answer.status
        return key in self.done

    def acknowledged(self):
        return [key for key, status in list(self.done.items()) if status == 201]

    def more(self, n, what):
        have = len(self.acknowledged())
        wait_until(f"{n} more commands {what}", lambda: len(self.acknowledged()) >= have + n, PATIENCE_S, every=0.02)

    def end(self):
        self.going = False
        for t in self.threads:
            t.join(90)
        check(not self.failures, f"{self.failures[:1]}")
        bank = self.bank
        check_equal(bank.twice(), [], "keys that were executed twice")
        check_equal([k for k in self.acknowledged() if bank.executed[k] != 1], [], "acknowledged, and not executed")
        return self.statuses


def test_each_key_has_one_gate(stage):
    """Both gates take commands, each its own keys; the other one refuses them before it does anything."""
    bank = Bank(stage).begin()
    keys = [f"k{i}" for i in range(40)]
    first, second = bank.agents("west")
    unknown = []
    for key in keys:
        answers = {name: bank.repeat(bank.gate_port(name), key) for name in (first, second)}
        if any(a.status == 409 for a in answers.values()):
            unknown.append(key)  # its gate was stalled while it was executed
            check(len(unknown) <= bank.stalls_of(*bank.processes), f"of unknown outcome: {unknown}")
            continue
        check_equal(sorted(a.status for a in answers.values()), [201, 421], f"answers of the gates to {key}")
        refused = next(a for a in answers.values() if a.status == 421)
        check(b"urn:fulmar:other-gate" in refused.body, f"{refused.body}")
        for port in bank.ports():  # the edges find the one that has it
            again = bank.repeat(port, key)
            check_equal((again.status, again.body), (201, b"done by west"), f"the repeat of {key}")
    check_equal({bank.executed[k] for k in keys if k not in unknown}, {1}, "executions of each key")
    check_equal(bank.twice(), [], "keys that were executed twice")
    bank.judge()


def test_a_gate_that_is_frozen_or_dies_lets_nothing_be_done_twice(stage):
    """One of two gates is frozen, wakes, is killed and comes back, while clients repeat through the other edge."""
    bank = Bank(stage).begin()
    bank.delay_s = 0.02
    clients = Clients(bank)
    clients.more(100, "with both gates")
    for frozen in ("west-2", "west-1"):
        bank.freeze(frozen)
        clients.more(10, "while one gate is frozen")
        bank.freeze(frozen, wake=True)
        clients.more(40, "after it woke")
    for name in ("west-2", "west-1"):
        bank.kill(name)
        clients.more(10, "without it")
        bank.start(name)
        clients.more(40, "after it came back")
    statuses = clients.end()
    check(statuses[503] + statuses[504] + statuses[409] > 0, f"nothing was refused: {dict(statuses)}")
    print(f"  {len(clients.acknowledged())} acknowledged, 0 twice; answers {dict(statuses)}")
    bank.judge()


def test_across_planned_moves_every_key_is_known(stage):
    """What both gates of the old holder took, whichever gate of the new one has the key answers for it."""
    bank = Bank(stage, hold="6s").begin()
    clients = Clients(bank)
    for to in ("north", "west", "north"):
        clients.more(60, "before the move")
        had = clients.acknowledged()
        bank.move(to)
        for n, key in enumerate(had[-200:]):
            answer = bank.repeat(bank.ports()[n % 2], key)
            check_equal((answer.status, answer.body[:8]), (201, b"done by "), f"a repeat of {key} after the move to {to}")
    clients.more(30, "after the moves")
    statuses = clients.end()
    print(f"  {len(clients.acknowledged())} acknowledged, 0 twice; answers {dict(statuses)}")
    bank.judge()


def test_a_move_waits_for_every_gate_of_the_heir(stage):
    """With a gate of the heir away a planned move does not happen: a key that would be its is not lost."""
    bank = Bank(stage, hold="6s").begin()
    keys = [f"k{i}" for i in range(30)]
    for key in keys:
        check_equal(bank.repeat(bank.ports()[0], key).status, 201, f"status of {key}")
    bank.kill("north-2")
    time.sleep(3)  # longer than a lease
    ident = bank.order("north-1", "move", context="ledger", to="north")["id"]
    op = bank.wait_for_op("north-1", ident, "failed")
    check("north-2" in op.get("text", ""), f"it does not say which gate: {op}")
    check_equal(bank.repeat(bank.ports()[0], "after").status, 201, "status of a command after the move that failed")
    before = bank.processes["north-2"].output().count("caught_up")
    bank.start("north-2")
    wait_until("north-2 asks for its lease", lambda: bank.processes["north-2"].output().count("caught_up") > before,
               PATIENCE_S)
    bank.move("north")
    for key in keys:
        check_equal(bank.repeat(bank.ports()[1], key).body, b"done by west", f"the repeat of {key}")
    check_equal(bank.twice(), [], "keys that were executed twice")
    bank.judge()


for _test in (test_a_gate_that_is_frozen_or_dies_lets_nothing_be_done_twice, test_across_planned_moves_every_key_is_known,
              test_a_move_waits_for_every_gate_of_the_heir):
    _test.max_s = 240

if __name__ == "__main__":
    lib.main(globals())
