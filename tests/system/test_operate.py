#!/usr/bin/env python3
"""The operators' commands against agents of this test: what they ask for, how they follow it, and the
exit code of every end."""

import json
import os
import pty
import re
import select
import signal
import socket
import ssl
import subprocess
import time

import lib
from lib import FULMAR, check, check_equal, wait_until
from servers import Server, reply

CONFIG = """
fulmar: 1
service: bank
state: "{dir}/{{host}}"
peer-tls: {tls}
hosts:
  west-1: {{region: west, roles: [gate, health, controller], address: 127.0.0.1,
            gate: "127.0.0.1:{west_gate}", peer: "127.0.0.1:{west}", admin: "127.0.0.1:{west_admin}"}}
  north-1: {{region: north, roles: [gate, health, controller], address: 127.0.0.1,
             gate: "127.0.0.1:{north_gate}", peer: "127.0.0.1:{north}", admin: "127.0.0.1:{north_admin}"}}
coordination: {{etcd: {{endpoints: {{west: ["http://127.0.0.1:{etcd}"]}}}}}}
edge: {{listen: [{{address: "127.0.0.1:{edge}"}}]}}
regions:
  west: {{apps: ["127.0.0.1:1"]}}
  north: {{apps: ["127.0.0.1:1"]}}
contexts:
  shop: {{topology: multi-write, routes: ["/**"]}}
  ledger: {{topology: active-passive, home: west, routes: ["/ledger/**"], idempotency: {{key: required, by: app}}}}
  cards: {{topology: affinity, cells: 16, key: {{path: card}}, routes: ["/cards/{{card}}/**"],
           idempotency: {{key: required, by: app}}}}
"""
TLS = '{ca: peers-ca.pem, cert: "{host}.pem", key: "{host}.key"}'
BECAUSE = ("--reason", "a test")


class Local(Server):
    """The same on a unix socket."""

    def __init__(self, stage, path, answer):
        self.path = path
        path.parent.mkdir(exist_ok=True)
        super().__init__(stage, answer, port=0)

    def listen(self, port=None):
        self.path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(16)
        self.port = 0
        self._start()

    def _start(self):
        import threading
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()


def document(status, doc):
    return reply(status, json.dumps(doc).encode(), [("Content-Type", "application/json")])


def problem(status, detail):
    return document(status, {"type": "about:blank", "status": status, "detail": detail})


class Agent:
    """An agent as far as a command can tell. `on` says what it answers to a method and a path: a
    status with a document, bytes, or a function of the request that gives one of both. `ops` are
    the operations that it knows of, or functions that tell how one stands."""

    def __init__(self, stage, host="west-1", local=True, port=None, wrap=None):
        self.host = host
        self.answers, self.ops = {}, {}
        if local:
            self.server = Local(stage, stage.path(host) / "agent.sock", self.answer)
        else:
            self.server = Server(stage, self.answer, port=port, wrap=wrap)
        self.on("GET", "/ops", self.operations)
        self.on("GET", "/status", (200, {"schema": "fulmar.status/1", "service": "bank",
                                         "role": "agent", "host": host}))

    def on(self, method, path, answer):
        self.answers[method, path] = answer

    def answer(self, request):
        path = request.target.partition("?")[0]
        answer = self.answers.get((request.method, path), reply(404))
        if callable(answer):
            answer = answer(request)
        return document(*answer) if isinstance(answer, tuple) else answer

    def operations(self, request):
        wanted = request.target.partition("?id=")[2]
        found = {i: o() if callable(o) else o for i, o in self.ops.items()
                 if wanted in ("", i)}
        if wanted:
            return (200, found[wanted]) if wanted in found else reply(404)
        return 200, {"schema": "fulmar.ops/1", "generation": 41,
                     "operations": list(found.values())}

    def asked(self, method, path=""):
        return [r for r in self.server.seen if r.method == method and r.target.startswith(path)]

    def order(self):
        """The one that it was given."""
        posts = self.asked("POST")
        check_equal(len(posts), 1, f"orders to {self.host}")
        return posts[0].target, json.loads(posts[0].body)


def hangs_up(request):
    raise ConnectionResetError


ID = "20261121-140842-83f0c1"


def op(state, done=0, of=1, **more):
    """An operation of which so many cells are where they should be."""
    items = [{"context": "ledger", "cell": i, "from": "west", "to": "north",
              "state": "done" if i < done else "waiting"} for i in range(of)]
    return {"schema": "fulmar.op/1", "generation": 41, "id": ID, "v": 1,
            "kind": "move", "context": "ledger", "region": None, "to": "north", "state": state,
            "step": "all", "by": "alice@x", "reason": "a test", "at": "2026-11-21T14:08:42.123456Z",
            "host": "west-1", "text": "", "break_glass": False, "attested": False, "quote": None,
            "items": items, **more}


def refusal(**more):
    return {"schema": "fulmar.refusal/1", "rule": "last-region", "evidence": "north is down",
            "remedy": "wait until north is up", **more}


class Operator:
    """Somebody with a file who types commands on west-1."""

    def __init__(self, stage, tls="plaintext"):
        self.stage = stage
        self.ports = {n: lib.free_port() for n in ("west", "north", "west_admin", "north_admin",
                                                     "west_gate", "north_gate", "etcd",
                                                     "edge")}
        self.conf = stage.write("fulmar.yaml",
                                CONFIG.format(dir=stage.dir, tls=tls, **self.ports))

    def argv(self, *arguments):
        return [FULMAR, *map(str, arguments), "-c", str(self.conf), "--host", "west-1"]

    def run(self, *arguments, env=None):
        return subprocess.run(self.argv(*arguments), capture_output=True, text=True, check=False,
                              timeout=60, stdin=subprocess.DEVNULL,
                              env={**os.environ, **(env or {})})

    def expect(self, code, *arguments, says=""):
        done = self.run(*arguments)
        check_equal(done.returncode, code,
                    f"exit code of {' '.join(arguments)} ({done.stderr.strip()!r})")
        check(says in done.stderr + done.stdout,
              f"{' '.join(arguments)} says {done.stderr!r} and {done.stdout!r}, not {says!r}")
        return done

    def start(self, *arguments):
        return subprocess.Popen(self.argv(*arguments), stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)


# -------- what is asked for --------


def test_bodies_of_orders(stage):
    """Each command's arguments arrive, with who and why, and nothing that was not said."""
    operator, agent = Operator(stage), Agent(stage)
    cases = [
        ("move ledger --to north", "move", {"context": "ledger", "to": "north"}),
        ("move cards --to north --cells 3,7,10-12", "move",
         {"context": "cards", "to": "north", "cells": [3, 7, 10, 11, 12]}),
        ("move cards --to north --percent 10 --expect-generation 41", "move",
         {"context": "cards", "to": "north", "cells": [0, 1], "expect_generation": 41}),
        ("move cards --to north --percent 100", "move",
         {"context": "cards", "to": "north", "cells": list(range(16))}),
        ("failback ledger", "failback", {"context": "ledger"}),
        ("evacuate west", "evacuate", {"region": "west"}),
        ("drain west", "drain", {"region": "west"}),
        ("drain west --context shop --percent 30 --for 30m --override capacity", "drain",
         {"region": "west", "context": "shop", "percent": 30, "for_ms": 1800000,
          "override": ["capacity"]}),
        ("undrain west --context shop", "undrain", {"region": "west", "context": "shop"}),
        ("failover ledger --to north --accept-loss q-1 --confirm ledger", "failover",
         {"context": "ledger", "to": "north", "quote": "q-1", "confirm": "ledger"}),
        ("failover ledger --to north --attest-fence west", "failover",
         {"context": "ledger", "to": "north", "attest_fence": "west"}),
        ("failover ledger --to north --prepare", "failover",
         {"context": "ledger", "to": "north", "step": "prepare"}),
        ("failover ledger --to north --complete --override holder-healthy", "failover",
         {"context": "ledger", "to": "north", "step": "complete", "break_glass": True}),
        ("failover ledger --to north --stand-down", "failover",
         {"context": "ledger", "to": "north", "step": "stand-down"}),
        ("read-only ledger on --message back-soon", "read-only",
         {"context": "ledger", "on": True, "message": "back-soon"}),
        ("read-only ledger off", "read-only", {"context": "ledger", "on": False}),
        ("automatic pause ledger --for 90s", "automatic",
         {"context": "ledger", "pause": True, "for_ms": 90000}),
        ("automatic pause ledger", "automatic", {"context": "ledger", "pause": True}),
        ("automatic resume ledger", "automatic", {"context": "ledger", "pause": False}),
        (f"op abort {ID}", "abort", {"id": ID}),
    ]
    for line, verb, expected in cases:
        agent.server.seen.clear()
        agent.on("POST", f"/ops/{verb}", (200, op("done")))
        operator.expect(0, *line.split(), *BECAUSE)
        target, body = agent.order()
        check_equal(target, f"/ops/{verb}", f"where {line} goes")
        check("@" in body.pop("by"), f"who asks in {line}")
        check_equal(body, {**expected, "reason": "a test"}, f"body of {line}")


def test_mistakes_are_not_sent(stage):
    """Usage errors are 64, and no agent hears of them."""
    operator, agent = Operator(stage), Agent(stage)
    for line, says in [
            ("move", "needs a context"), ("move ledger", "needs --to REGION"),
            ("move ledger --to north", "--reason TEXT"),
            ("move ledger --to north --reason ''", "--reason TEXT"),
            ("move ledger --to north --to west", "said twice, as `north` and as `west`"),
            ("move a --to b --cells 1 --percent 5", "either --cells or --percent"),
            ("move a --to b --cells 64", "numbers from 0 to 63"),
            ("move a --to b --cells 3,3", "each once"), ("move a --to b --cells 1,", "not `1,`"),
            ("move a --to b --cells 9-3", "not `9-3`"), ("move a --to b --cells ''", "not ``"),
            ("move a --to b --percent 0", "from 1 to 100"),
            ("move a --to b --expect-generation x", "a whole number"),
            ("move a --tp b", "did you mean --to?"), ("mvoe a", "did you mean `fulmar move`?"),
            ("failover ledger --prepare", "needs --to REGION: who takes over"),
            ("failover ledger --to north --accept-loss q", "needs --confirm ledger"),
            ("failover ledger --to north --confirm ledger", "goes with --accept-loss"),
            ("failover ledger --to north --accept-loss q --confirm cards", "is of `ledger`"),
            ("failover a --to b --prepare --complete", "one of --prepare"),
            ("failover a --to b --prepare --attest-fence c", "nothing to consent to"),
            ("failover a --to b --override x", "no guard `x` that yields"),
            ("failover a --to b --override ''", "the name of a rule"),
            ("failback a --override holder-healthy", "has no option --override"),
            ("move nobody --to b --percent 5", "knows of no cells of `nobody`"),
            (f"failback a --reason {'x' * 256}", "up to 255 bytes"),
            ("quote ledger", "needs --to REGION"), ("evacuate", "needs a region"),
            ("drain", "needs a region"), ("undrain", "needs a region"),
            ("drain west --percent 0", "from 1 to 100"), ("drain west --for 90", "with its unit"),
            ("drain west --override x", "no guard `x` that yields"),
            ("undrain west --percent 3", "has no option --percent"),
            ("read-only ledger", "on|off"), ("read-only ledger of", "on|off"),
            ("read-only ledger off --message x", "goes with `on`"),
            ("automatic pause --for 90", "a time with its unit"), ("automatic", "automatic pause"),
            ("op show", "needs the number"), ("op show ../status", "is no number"),
            ("op wait a/b", "is no number"), ("move a --to b --reason x --cert x", "go together")]:
        operator.expect(64, *(w.replace("''", "") for w in line.split()), says=says)
    check_equal(agent.server.seen, [], "what was asked")


# -------- how it ends --------


def test_exit_codes(stage):
    """Every answer to an order has its exit code, and says why."""
    operator, agent = Operator(stage), Agent(stage)
    for answer, code, says in [
            ((200, op("done")), 0, " ms: move ledger to north"),
            ((202, op("failed", text="the heir is not ready")), 1, "the heir is not ready"),
            ((202, op("aborted", text="a person")), 1, "aborted after "),
            ((202, op("partial", 1, 3)), 5, "1 of 3 cells"),
            ((202, op("refused", text="last-region")), 3, "last-region"),
            ((409, refusal()), 3, "refused by the rule `last-region`: north is down"),
            ((409, refusal(rule="holder-healthy")), 3, "--override holder-healthy"),
            ((409, refusal(rule="capacity")), 3, "--override capacity"),
            ((400, refusal(rule="malformed")), 64, "malformed"),
            ((404, refusal(rule="unknown-context")), 64, "unknown-context"),
            ((404, refusal(rule="unknown-operation")), 2, "unknown-operation"),
            ((503, refusal(rule="no-quorum")), 75, "no-quorum"),
            ((503, refusal(rule="outcome-unknown")), 69, "outcome-unknown"),
            (reply(403), 77, "a certificate"),
            (reply(404), 69, "takes no such question"),
            (reply(503), 75, "nothing was done"),
            (reply(500), 1, "status 500"),
            (reply(200, b"hello"), 1, "status 200"),
            (b"nonsense\r\n\r\n", 69, "it may have been accepted")]:
        agent.on("POST", "/ops/move", answer)
        operator.expect(code, "move", "ledger", "--to", "north", *BECAUSE, says=says)


def test_documents_of_every_end(stage):
    """With -o json there is one document on stdout, whatever happens."""
    operator, agent = Operator(stage), Agent(stage)
    for answer, code, schema in [
            ((200, op("done")), 0, "fulmar.op/1"), ((202, op("failed")), 1, "fulmar.op/1"),
            ((409, refusal()), 3, "fulmar.refusal/1"),
            ((503, refusal(rule="no-quorum")), 75, "fulmar.refusal/1"),
            (reply(403), 77, "fulmar.error/1"), (reply(503), 75, "fulmar.error/1")]:
        agent.on("POST", "/ops/move", answer)
        done = operator.expect(code, "move", "ledger", "--to", "north", *BECAUSE, "-o", "json")
        check_equal(json.loads(done.stdout)["schema"], schema, "schema")
        done = operator.expect(code, "move", "ledger", "--to", "north", *BECAUSE, "-o", "yaml")
        check(f'schema: "{schema}"' in done.stdout, done.stdout)


def test_dry_run(stage):
    """0: nothing to do, 2: it would change something, 3: it would be refused; no reason is needed."""
    operator, agent = Operator(stage), Agent(stage)
    move = ["move", "ledger", "--to", "north", "--dry-run"]
    agent.on("POST", "/ops/move", (200, op("done", of=0)))
    operator.expect(0, *move, says="nothing to do: move ledger to north")
    check_equal(agent.order()[1]["dry_run"], True, "dry_run")
    agent.on("POST", "/ops/move", (200, op("waiting", of=2)))
    done = operator.expect(2, *move, says="  ledger/0-1: west -> north")
    check(done.stdout.startswith("service bank, generation 41, by the agent of west-1\n"),
          done.stdout)
    check_equal(json.loads(operator.expect(2, *move, "-o", "json").stdout)["id"], ID, "document")
    agent.on("POST", "/ops/move", (409, refusal()))
    operator.expect(3, *move, says="last-region")
    agent.on("POST", "/ops/failback", (200, op("waiting", of=0, kind="failback", to=None)))
    operator.expect(2, "failback", "ledger", "--dry-run", says="would be done: failback ledger")
    home = op("done", of=0, kind="failback", to=None, text="every cell is home")
    agent.on("POST", "/ops/failback", (200, home))
    operator.expect(0, "failback", "ledger", "--dry-run", says="nothing to do: failback ledger: every cell is home")
    agent.on("POST", "/ops/failback", (409, refusal(rule="soak", evidence="west has been well for 3s of 10m")))
    operator.expect(3, "failback", "ledger", "--dry-run", says="the rule `soak`: west has been well for 3s of 10m")
    more = {"of": 0, "kind": "drain", "context": None, "region": "west", "to": None}
    agent.on("POST", "/ops/drain", (200, op("waiting", text="west gets nothing", **more)))
    operator.expect(2, "drain", "west", "--dry-run", says="would be done: drain west: west gets nothing")
    agent.on("POST", "/ops/undrain", (200, op("done", **{**more, "kind": "undrain"})))
    operator.expect(0, "undrain", "west", "--dry-run", says="nothing to do: undrain west")


QUOTE = {"schema": "fulmar.quote/1", "quote": "q-7", "context": "ledger", "from": "west",
         "to": "north", "loss_bytes": 0, "unbounded": False, "bound": "no data moves",
         "valid_for_ms": 30000, "generation": 41, "waits_for": "the holder's lease may still run",
         "evidence": {"observers": 3, "lost_by": 2, "healthy_by": 0, "domains": 3, "quorum": True,
                      "ready": False, "fenced": True, "automatic_left": 2}}


def test_quote(stage):
    """What it would cost, with the evidence and the command that accepts it; nothing is changed."""
    operator, agent = Operator(stage), Agent(stage)
    agent.on("POST", "/ops/quote", (200, QUOTE))
    done = operator.expect(0, "quote", "ledger", "--to", "north")
    check_equal(agent.order(), ("/ops/quote", {"context": "ledger", "to": "north"}), "question")
    for says in ("loss: at most 0 bytes (no data moves)", "of 3 observers 2 lost it and 0 see it",
                 "the successor is NOT ready", "waits for: the holder's lease may still run",
                 "valid for 30.0 s", "--accept-loss q-7 --confirm ledger"):
        check(says in done.stdout, f"{says!r} is not in:\n{done.stdout}")
    agent.on("POST", "/ops/quote", (200, {**QUOTE, "unbounded": True}))
    operator.expect(0, "quote", "ledger", "--to", "north", says="loss: not bounded")
    check_equal(json.loads(operator.expect(0, "quote", "ledger", "--to", "north", "-o",
                                           "json").stdout)["quote"], "q-7", "document")


def test_what_is_shown_can_be_typed(stage):
    """Commands in what is printed have the options by which this one found its agent; what an agent says has them, too."""
    operator, agent = Operator(stage), Agent(stage)
    options = f" -c {operator.conf} --host west-1"
    no = op("refused", of=0, kind="failback", to=None, text="it lags", rule="lag",
            remedy="wait: see `fulmar group status`")
    agent.on("POST", "/ops/failback", (200, no))
    operator.expect(3, "failback", "ledger", *BECAUSE,
                    says=f"ledger: it lags\n  refused by the rule `lag`: wait: see `fulmar group status{options}`\n")
    out = operator.expect(3, "failback", "ledger", *BECAUSE, "-o", "json").stdout
    check_equal(json.loads(out), no, "the document, as it came")
    agent.on("POST", "/ops/move", (409, refusal(remedy="use `fulmar quote`, and then `fulmar failover`")))
    operator.expect(3, "move", "ledger", "--to", "north", *BECAUSE,
                    says=f"use `fulmar quote{options}`, and then `fulmar failover{options}`")
    agent.on("POST", "/ops/quote", (200, QUOTE))
    operator.expect(0, "quote", "ledger", "--to", "north", says=f"--confirm ledger --reason TEXT{options}\n")
    operator.expect(2, "op", "show", ID, says=f"`fulmar op list{options}` shows those there are")
    agent.on("POST", "/ops/move", (202, op("waiting")))
    agent.ops[ID] = op("waiting")
    operator.expect(4, "move", "ledger", "--to", "north", *BECAUSE, "--timeout", "1ms",
                    says=f"`fulmar op wait {ID}{options}` goes on from here")
    done = subprocess.run([FULMAR, "op", "list", "--host", "west-1"], capture_output=True, text=True, check=False,
                          env={**os.environ, "FULMAR_CONFIG": str(operator.conf)})
    check_equal(done.returncode, 0, f"the file by the environment: {done.stderr}")
    done = subprocess.run([FULMAR, "op", "show", "x", "--host", "west-1"], capture_output=True, text=True, check=False,
                          env={**os.environ, "FULMAR_CONFIG": str(operator.conf)})
    check("`fulmar op list --host west-1`" in done.stderr, f"what was not said is not repeated: {done.stderr}")


def test_who_forgot_the_host(stage):
    """The easier remedy is said first: which hosts of the file are on this machine."""
    operator, _ = Operator(stage), Agent(stage)
    for line in ("op list", "status", "move ledger --to north --reason x"):
        done = subprocess.run([FULMAR, *line.split(), "-c", operator.conf, "--host", "elsewhere"], capture_output=True,
                              text=True, check=False)
        check_equal(done.returncode, 69, f"exit code of {line}: {done.stderr}")
        check("with --host: west-1; or start one (`fulmar " in done.stderr, f"{line} says {done.stderr!r}")


def test_automatic_of_all(stage):
    """Without a context it is an order for each that has cells; 5 where some took it."""
    operator, agent = Operator(stage), Agent(stage)
    agent.on("POST", "/ops/automatic", (200, op("done", kind="automatic")))
    pause = ["automatic", "pause", *BECAUSE]
    operator.expect(0, *pause)
    check_equal([json.loads(r.body)["context"] for r in agent.asked("POST")], ["ledger", "cards"],
                "contexts")
    out = operator.expect(0, *pause, "-o", "json").stdout
    check_equal([json.loads(line)["kind"] for line in out.splitlines()], ["automatic"] * 2, "lines")
    agent.on("POST", "/ops/automatic", lambda request: (409, refusal()) if b"cards" in request.body
             else (200, op("done")))
    operator.expect(5, *pause)
    agent.on("POST", "/ops/automatic", (409, refusal()))
    operator.expect(3, *pause)


# -------- following --------


class Course:
    """An operation that goes through these states, one for each question; the last one stays."""

    def __init__(self, agent, *states):
        self.states = list(states)
        agent.on("POST", "/ops/move", (202, states[0]))
        agent.ops[ID] = self.answer

    def answer(self):
        if len(self.states) > 1:
            return self.states.pop(0)
        return self.states[0]


COURSE = [op("waiting", 0, 3), op("waiting", 0, 3), op("running", 1, 3, text="cell 1 is shipping"),
          op("aborting", 1, 3), op("done", 3, 3)]


def test_following(stage):
    """Each state is a line on stderr, the end one on stdout."""
    operator, agent = Operator(stage), Agent(stage)
    Course(agent, *COURSE)
    done = operator.expect(0, "move", "ledger", "--to", "north", *BECAUSE)
    check_equal(done.stderr.splitlines(),
                ["move ledger to north: waiting, 0 of 3 cells",
                 "move ledger to north: running, 1 of 3 cells: cell 1 is shipping",
                 "move ledger to north: aborting, 1 of 3 cells"], "progress")
    check_equal(done.stdout.splitlines()[:2],
                ["service bank, generation 41, by the agent of west-1",
                 f"operation {ID}: move ledger to north"], "head")
    check(re.fullmatch(r"done after \d+ ms: move ledger to north, 3 of 3 cells",
                       done.stdout.splitlines()[2]), done.stdout)
    Course(agent, *COURSE)
    done = operator.expect(0, "move", "ledger", "--to", "north", *BECAUSE, "-o", "json")
    check_equal(json.loads(done.stdout), COURSE[-1], "document")
    check("running" in done.stderr, "progress beside the document")
    Course(agent, *COURSE)
    done = operator.expect(0, "op", "wait", ID, says="done: move ledger")
    operator.expect(2, "op", "wait", "9", says="no operation `9`")


def test_leaving_it_to_itself(stage):
    """Ctrl-C and --timeout after it was accepted: exit 4 with its number; `op wait` goes on."""
    operator, agent = Operator(stage), Agent(stage)
    Course(agent, op("waiting"), op("running"))
    move = ["move", "ledger", "--to", "north", *BECAUSE]
    for more in ([], ["-o", "json"]):
        agent.server.seen.clear()
        process = operator.start(*move, *more)
        wait_until("it is followed", lambda: len(agent.asked("GET", "/ops?")) >= 3)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=lib.PATIENCE_S)
        check_equal(process.returncode, 4, f"exit code ({err})")
        check(f"fulmar op wait {ID}" in err and ID in out, f"{err!r} {out!r}")
    check_equal(json.loads(out)["state"], "running", "document")
    for command in (move, ["op", "wait", ID]):
        operator.expect(4, *command, "--timeout", "3s", says="--timeout has passed")
    agent.on("POST", "/ops/move", lambda request: None)
    agent.server.seen.clear()
    process = operator.start(*move)
    wait_until("the order is there", lambda: agent.asked("POST"))
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=lib.PATIENCE_S)
    check_equal(process.returncode, 69, f"exit code before an answer ({err})")
    check("may have been accepted" in err, err)


def test_an_agent_that_goes_while_it_is_followed(stage):
    """Another one is asked from then on; nothing is ordered twice."""
    operator = Operator(stage)
    west = Agent(stage)
    north = Agent(stage, "north-1", local=False, port=operator.ports["north"])
    Course(west, *COURSE[:2])
    process = operator.start("move", "ledger", "--to", "north", *BECAUSE)
    wait_until("it is followed", lambda: len(west.asked("GET", "/ops?")) >= 3)
    Course(north, *COURSE[1:])
    west.server.kill()
    out, err = process.communicate(timeout=lib.PATIENCE_S)
    check_equal(process.returncode, 0, f"exit code ({err})")
    check("done after " in out, out)
    check_equal(len(west.asked("POST") + north.asked("POST")), 1, "orders")


def test_terminal(stage):
    """One line that is written over; nothing that agents hand on steers the terminal."""
    operator, agent = Operator(stage), Agent(stage)
    Course(agent, op("waiting"), op("running"), op("failed", text="\033[2Jx"))
    master, slave = pty.openpty()
    with subprocess.Popen(operator.argv("move", "ledger", "--to", "north", *BECAUSE), stdout=slave,
                          stderr=slave, stdin=slave) as process:
        os.close(slave)
        out = b""
        while select.select([master], [], [], lib.PATIENCE_S)[0]:
            try:
                out += os.read(master, 65536)
            except OSError:  # the other side is closed
                break
        process.wait(lib.PATIENCE_S)
    os.close(master)
    text = out.decode()
    check_equal(process.returncode, 1, f"exit code ({text!r})")
    check("\r\033[Kmove ledger to north: running (" in text, repr(text))
    check("\033[2J" not in text and "?[2Jx" in text, repr(text))


# -------- whom it asks --------


def test_who_is_asked(stage):
    """The local socket, else the agents of the file, a living one of this service; or --server."""
    operator = Operator(stage)
    move = ["move", "ledger", "--to", "north", *BECAUSE]
    done = operator.expect(69, *move, says="no agent of host `west-1` runs here")
    check("north-1 (nobody listens there)" in done.stderr, done.stderr)
    north = Agent(stage, "north-1", local=False, port=operator.ports["north"])
    north.on("POST", "/ops/move", (200, op("done")))
    operator.expect(0, *move, says="by north-1")
    west = Agent(stage, "west-1", local=False, port=operator.ports["west"])
    west.on("POST", "/ops/move", (200, op("done")))
    operator.expect(0, *move, says="by west-1")
    west.on("GET", "/ops", lambda request: None)  # it is frozen
    operator.expect(0, *move, says="by north-1")
    local = Agent(stage)
    local.on("POST", "/ops/move", (200, op("done")))
    operator.expect(0, *move, says="by the agent of west-1")
    for server in ("north-1", f"127.0.0.1:{operator.ports['north']}"):
        operator.expect(0, *move, "--server", server, says=f"by {server}")
    operator.expect(64, *move, "--server", "south-1", says="neither a host of")
    operator.expect(69, *move, "--server", "west-1", "--timeout", "300ms", says="does not answer")
    local.server.kill()  # and leaves its socket
    operator.expect(0, *move, says="by north-1")
    check_equal(len(west.asked("POST")), 1, "orders to the frozen one")
    local = Agent(stage)
    local.on("GET", "/ops", reply(404))  # it has no part in authority
    operator.expect(0, *move, says="by north-1")


def test_without_a_good_file(stage):
    """The agent of this host takes orders although the file has errors by now; others cannot be
    found by it."""
    operator, agent = Operator(stage), Agent(stage)
    agent.on("POST", "/ops/move", (200, op("done")))
    operator.conf.write_text(operator.conf.read_text() + "nonsense: 1\n")
    move = ["move", "ledger", "--to", "north", *BECAUSE]
    done = operator.expect(0, *move, says="done")
    check("nonsense" in done.stderr, done.stderr)
    operator.expect(78, *move, "--server", "north-1", says="nonsense")


def test_orders_are_not_repeated(stage):
    """One that may have arrived is not sent to another agent; one that cannot have is."""
    operator = Operator(stage)
    west = Agent(stage, local=False, port=operator.ports["west"])
    north = Agent(stage, "north-1", local=False, port=operator.ports["north"])
    north.on("POST", "/ops/move", (200, op("done")))
    north.on("POST", "/ops/quote", (200, QUOTE))
    move = ["move", "ledger", "--to", "north", *BECAUSE]
    west.on("POST", "/ops/move", hangs_up)
    operator.expect(69, *move, says="fulmar op list")
    check_equal(north.asked("POST"), [], "orders to the other")
    west.on("POST", "/ops/move", reply(404))  # of an older version
    operator.expect(0, *move)
    check_equal(len(north.asked("POST")), 1, "orders to the other")
    west.on("POST", "/ops/quote", hangs_up)
    operator.expect(0, "quote", "ledger", "--to", "north")
    west.on("POST", "/ops/quote", lambda request: None)
    operator.expect(0, "quote", "ledger", "--to", "north")


# -------- what is there --------


def test_operations(stage):
    """`op list` is a line each, `op show` all of one; documents as they came."""
    operator, agent = Operator(stage), Agent(stage)
    operator.expect(0, "op", "list", says="no operations")
    agent.ops = {"1": op("done"), ID: op("running", 1, 3)}
    rows = operator.expect(0, "op", "list").stdout.splitlines()
    check_equal(len(rows), 3, f"lines of {rows}")
    check(re.match(rf"{ID} +done +move ledger to north +alice@x +a test$", rows[1]), rows[1])
    listed = json.loads(operator.expect(0, "op", "list", "-o", "json").stdout)
    check_equal(len(listed["operations"]), 2, "operations")
    operator.expect(0, "op", "show", ID, says="  ledger/1-2: west -> north, waiting")
    check_equal(json.loads(operator.expect(0, "op", "show", ID, "-o", "json").stdout),
                op("running", 1, 3), "document")
    operator.expect(2, "op", "show", "x", says="no operation `x`")
    watch = operator.start("op", "list", "--watch", "-o", "json")
    lines = [json.loads(watch.stdout.readline()) for _ in range(2)]
    watch.terminate()
    watch.communicate(timeout=lib.PATIENCE_S)
    check_equal([line["schema"] for line in lines], ["fulmar.ops/1"] * 2, "watched")


def with_authority(agent):
    """West holds the ledger, and somebody is asked about north's cards."""
    def cell(n, region, **more):
        return {"cell": n, "region": region, "state": "held", "to": None, "epoch": 42,
                "lapsed": False, **more}
    asking = {"state": "asking", "why": "mode", "why_text": "the mode asks for a person",
              "automatic": False, "for_ms": 12000}
    context = {"failover": {}, "move": None, "own": {"acts_left_ms": 1834}, "frozen": False,
               "unreadable": None, "read_only": False, "generation": 812}
    agent.on("GET", "/status", (200, {
        "schema": "fulmar.status/1", "service": "bank", "role": "agent", "host": agent.host,
        "region": "west", "version": "1", "events": [event(1, 1)], "authority": {
            "trouble": None, "events": [
                event(2, 2, context="cards", cell=1), event(3, 3)],
            "contexts": {
                "ledger": {**context, "cells": [cell(0, "west")]},
                "cards": {**context, "failover": {"north": asking},
                          "cells": [cell(0, "west"), cell(1, "north", lapsed=True)]}}}}))


def test_status_with_authority(stage):
    """Who holds what, what is under way; of a context, a region, a host; --check says that it is not
    well."""
    operator, agent = Operator(stage), Agent(stage)
    with_authority(agent)
    out = operator.expect(0, "status").stdout
    check(re.search(r"^ledger +0 +west +42 +1.8 s +assisted +steady +812$", out, re.M), out)
    check(re.search(r"^cards +1 +north \(lapsed\) +42 +- +assisted +asking +812$", out, re.M), out)
    check("failover from north is asking for 12.0 s: the mode asks for a person" in out, out)
    check("14:03:00  west/ledger  steady -> asking: text-3" in out, out)
    check("cards" not in operator.expect(0, "status", "ledger").stdout.split("Last")[0], "filter")
    check("ledger   " not in operator.expect(0, "status", "north").stdout, "filter")
    operator.expect(2, "status", "--check")
    operator.expect(64, "status", "mars", says="no region or context `mars`")
    north = Agent(stage, "north-1", local=False, port=operator.ports["north"])
    operator.expect(0, "status", "north-1", says="agent north-1")
    check_equal(len(north.asked("GET", "/status")), 1, "questions to north-1")


def test_why(stage):
    """The state, the operation, and the events about it, and nothing about others."""
    operator, agent = Operator(stage), Agent(stage)
    with_authority(agent)
    agent.ops[ID] = op("refused", text="last-region")
    done = operator.expect(0, "why", "ledger")
    check(re.search(r"^ledger +0 +west ", done.stdout, re.M), done.stdout)
    check_equal(done.stdout.count("text-"), 2, "events")
    check("refused" in done.stdout and "a test" in done.stdout, "the order about it")
    for what in ("cards", "cards/1", "west/cards"):
        check("text-2" in operator.expect(0, "why", what).stdout, what)
    done = operator.expect(0, "why", ID, says="refused")
    check("a test" in done.stdout, done.stdout)
    doc = json.loads(operator.expect(0, "why", ID, "-o", "json").stdout)
    check_equal((doc["schema"], doc["operations"][0]["id"], [e["number"] for e in doc["events"]]),
                ("fulmar.why/1", ID, []), "document")
    doc = json.loads(operator.expect(0, "why", "ledger", "-o", "json").stdout)
    check_equal(list(doc["contexts"]), ["ledger"], "contexts of the document")
    operator.expect(2, "why", "mars", says="nothing is recorded of `mars`")
    operator.expect(64, "why", says="needs what it is about")


# -------- what happened --------


def event(number, minute, **more):
    return {"number": number, "at": f"2026-11-21T14:{minute:02}:00.000000Z", "region": "west",
            "context": "ledger", "from": "steady", "to": "asking", "why": f"why-{number}", "text": f"text-{number}",
            "evidence": "2 of 3 saw it lost", **more}


class History:
    """What a daemon has seen, and done about the right to write."""

    def __init__(self, agent, seen, done):
        self.seen, self.done = seen, done
        self.host = agent.host
        agent.on("GET", "/status", self.answer)

    def answer(self, request):
        return 200, {"schema": "fulmar.status/1", "service": "bank", "role": "agent",
                     "host": self.host, "events": self.seen, "authority": {"events": self.done}}


def test_events(stage):
    """By time, the newest ones, those since a time, documents."""
    operator, agent = Operator(stage), Agent(stage)
    History(agent, [event(1, 3)], [event(1, 1), event(2, 2, cell=0)])
    check_equal(operator.expect(0, "events").stdout.splitlines(),
                ["14:01:00  west/ledger  steady -> asking: text-1 (2 of 3 saw it lost)",
                 "14:02:00  west/ledger/0  steady -> asking: text-2 (2 of 3 saw it lost)",
                 "14:03:00  west/ledger  steady -> asking: text-1 (2 of 3 saw it lost)"], "table")
    check_equal(operator.expect(0, "events", "--limit", "1").stdout.count("text-"), 1, "--limit 1")
    check_equal(operator.expect(0, "events", "--since", "1h").stdout, "", "within the last hour")
    now = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
    History(agent, [], [event(1, 1), event(2, 2, at=now)])
    doc = json.loads(operator.expect(0, "events", "--since", "1h", "-o", "json").stdout)
    check_equal((doc["schema"], doc["host"], [e["number"] for e in doc["events"]]),
                ("fulmar.events/1", "west-1", [2]), "document")
    agent.server.kill()
    operator.expect(69, "events", says="does not answer")


def test_following_events(stage):
    """-f shows each event once, a line each, and goes on when the daemon is back."""
    operator, agent = Operator(stage), Agent(stage)
    history = History(agent, [event(8, 2)], [event(7, 1)])
    with operator.start("events", "-f", "-o", "json") as process:
        seen = [json.loads(process.stdout.readline())["number"] for _ in range(2)]
        agent.server.kill()
        check_equal(json.loads(process.stdout.readline())["schema"], "fulmar.error/1", "meanwhile")
        history.seen.append(event(9, 3))
        agent.server.listen()
        while (line := json.loads(process.stdout.readline())).get("schema"):
            pass
        check_equal([*seen, line["number"]], [7, 8, 9], "numbers")
        process.terminate()
        process.communicate(timeout=lib.PATIENCE_S)


def certs(*arguments):
    done = subprocess.run([FULMAR, "certs", *map(str, arguments)], capture_output=True, text=True,
                          check=False, timeout=60)
    check_equal(done.returncode, 0, f"fulmar certs: {done.stderr}")


def test_tls(stage):
    """Between hosts it is mutual: with this host's certificate, or the one of --cert and --key."""
    operator = Operator(stage, TLS)
    certs("init", "-c", operator.conf)
    for host in ("west-1", "north-1", "alice"):
        certs("add", host, "-c", operator.conf)
    other = stage.path("other")
    other.mkdir()
    other_conf = stage.write("other/fulmar.yaml", operator.conf.read_text())
    certs("init", "-c", other_conf)
    certs("add", "alice", "-c", other_conf)

    def wrap(connection):
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(stage.path("north-1.pem"), stage.path("north-1.key"))
        tls.load_verify_locations(stage.path("peers-ca.pem"))
        tls.verify_mode = ssl.CERT_REQUIRED
        stream = tls.wrap_socket(connection, server_side=True)
        names.append(dict(x for y in stream.getpeercert()["subject"] for x in y)["commonName"])
        return stream
    names = []
    north = Agent(stage, "north-1", local=False, port=operator.ports["north"], wrap=wrap)
    north.on("POST", "/ops/move", (200, op("done")))
    move = ["move", "ledger", "--to", "north", *BECAUSE, "--server", "north-1"]
    operator.expect(0, *move)
    check_equal(set(names), {"west-1"}, "who asks")
    names.clear()

    def as_alice(folder):
        return ["--cert", folder / "alice.pem", "--key", folder / "alice.key"]
    operator.expect(0, *move, *map(str, as_alice(stage.dir)))
    check_equal(set(names), {"alice"}, "who asks")
    operator.expect(77, *move, *map(str, as_alice(other)), says="TLS")
    stage.path("north-1.pem").write_bytes(stage.path("alice.pem").read_bytes())
    stage.path("north-1.key").write_bytes(stage.path("alice.key").read_bytes())
    operator.expect(77, *move, says="TLS: hostname mismatch")
    stage.path("west-1.pem").unlink()
    operator.expect(78, *move, says="--cert FILE --key FILE")


if __name__ == "__main__":
    lib.main(globals())
