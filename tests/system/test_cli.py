#!/usr/bin/env python3
"""`fulmar COMMAND`: does it teach who mistypes, keep its exit codes, and give machines documents that
they can read?"""

import json
import os
import pty
import re
import select
import shlex
import signal
import socket
import subprocess
import time

import lib
from lib import FULMAR, ROOT, check, check_equal, wait_until

try:
    import jsonschema
except ImportError:  # then the schema is only looked at
    jsonschema = None
try:
    import yaml
except ImportError:
    yaml = None

BROKEN = ROOT / "tests" / "unit" / "conf" / "broken"
GOOD = [ROOT / "examples" / "bank" / "fulmar.yaml",
        ROOT / "tests" / "unit" / "conf" / "data" / "smallest.yaml",
        ROOT / "tests" / "unit" / "conf" / "data" / "everything" / "fulmar.yaml"]

CONFIG = """
fulmar: 1
service: shop
state: "{dir}/{{host}}"
hosts:
  edge-1: {{region: west, roles: [edge], address: 127.0.0.1, admin: "127.0.0.1:{admin}"}}
{west}
edge: {{workers: 1, listen: [{{address: "127.0.0.1:{port}"}}]}}
probe: {{app: none}}
regions:
  west:
    apps: ["127.0.0.1:{nobody}"]
    checks: {{fine: {{command: ["true"]}}, broken: {{command: [sh, -c, echo no disk; false], fall: 1}}}}
  north: {{apps: ["127.0.0.1:{nobody}"]}}
contexts:
  ledger: {{topology: multi-write, routes: ["/ledger/**"], needs: [fine]}}
  cards: {{topology: multi-write, routes: ["/cards/**"], needs: [broken]}}
"""
WEST = """\
  west-1: {{region: west, roles: [health], address: 127.0.0.1, peer: "127.0.0.1:{peer}",
            admin: "127.0.0.1:{agent}"}}"""


class Done:
    def __init__(self, finished):
        self.code, self.out, self.err = finished.returncode, finished.stdout, finished.stderr

    def json(self):
        return json.loads(self.out)


def run(*arguments, **env):
    """Run the command to its end. Nothing of the caller's surroundings gets in."""
    clean = {k: v for k, v in os.environ.items()
             if k not in ("FULMAR_CONFIG", "NO_COLOR", "TERM")}
    return Done(subprocess.run([FULMAR, *map(str, arguments)], capture_output=True, text=True,
                               check=False, timeout=30, stdin=subprocess.DEVNULL,
                               env={**clean, **env}))


def refused(code, why, *arguments, **env):
    """It ends with this code, says why on stderr, and nothing on stdout."""
    done = run(*arguments, **env)
    what = f"fulmar {shlex.join(map(str, arguments))}"
    check_equal(done.code, code, f"exit code of {what} ({done.err.strip()!r})")
    check(why in done.err, f"{what} says {done.err!r}, not {why!r}")
    check_equal(done.out, "", f"stdout of {what}")


def commands():
    """The names in the table of src/cli/commands.c."""
    table = (ROOT / "src" / "cli" / "commands.c").read_text()
    names = re.findall(r'^    \{"([a-z -]+)",', table, re.M)
    check({"demo", "edge", "agent", "config check", "status", "help"} <= set(names), f"{names}")
    return names


# -------- help --------


def test_alone(stage):
    """`fulmar` lists every command with a line and an example, in the width of a terminal."""
    done = run()
    check_equal((done.code, done.err), (0, ""), "fulmar alone")
    for name in commands():
        found = re.search(rf"^  {name} +(\S.+)\n +\$ fulmar {name}\b.*$", done.out, re.M)
        check(found, f"`{name}` has no line with an example in:\n{done.out}")
    listed = re.findall(r"^  (\S+(?: \S+)?)  ", done.out, re.M)
    check_equal(sorted(listed), sorted(commands()), "commands")
    for line in done.out.splitlines():
        check(len(line) <= 100, f"too wide: {line!r}")
    for same in (["help"], ["--help"], ["-h"]):
        check_equal(run(*same).out, done.out, f"fulmar {same[0]}")


def options_of(text):
    return dict(re.findall(r"^  (?:-\w, |    )--([a-z-]+)( [A-Z]+)?", text, re.M))


def test_help_of_each_command(stage):
    """Usage, an example that only uses what the command has, its options; three ways to ask."""
    for name in commands():
        done = run("help", *name.split())
        check_equal((done.code, done.err), (0, ""), f"help {name}")
        check(done.out.startswith(f"Usage: fulmar {name}"), f"help {name}: {done.out[:80]!r}")
        check_equal(run(*name.split(), "--help").out, done.out, f"{name} --help")
        check_equal(run(*name.split(), "-h").out, done.out, f"{name} -h")
        example = re.search(r"Example:\n  \$ (.+)\n", done.out)
        check(example and example[1].startswith(f"fulmar {name}"), f"help {name}: no example")
        known = options_of(done.out)
        for used in re.findall(r"--([a-z-]+)", example[1]):
            check(used in known, f"the example of {name} uses --{used}, which it has not")


def test_version(stage):
    """One line, wherever it is asked for, and nothing is started."""
    version = re.search(r"version: '([^']+)'", (ROOT / "meson.build").read_text())[1]
    for arguments in (["--version"], ["status", "--version"], ["demo", "--version"],
                      ["edge", "--version"]):
        done = run(*arguments)
        check_equal((done.code, done.out, done.err), (0, f"fulmar {version}\n", ""),
                    f"fulmar {' '.join(arguments)}")


# -------- usage --------


def test_mistyped_commands(stage):
    """Exit 64 with what was probably meant."""
    for typed, meant in [("statsu", "status"), ("stat", "status"), ("dmeo", "demo"),
                         ("egde", "edge"), ("agnet", "agent"), ("conifg check", "config check"),
                         ("config chekc", "config check"), ("config schem", "config schema"),
                         ("conifg schema", "config schema"), ("hlep", "help"),
                         ("help statsu", "status")]:
        refused(64, f"did you mean `fulmar {meant}`?", *typed.split())
    refused(64, "there is no command `xyzzy`; `fulmar help` lists them", "xyzzy")
    refused(64, "`config` is the first word of several commands: say which", "config")
    refused(64, "there is no command `config zzzzzzzz`", "config", "zzzzzzzz")
    refused(64, "options come behind the command", "-o", "json", "status")


def test_mistyped_options(stage):
    """Exit 64 with what was probably meant, or what was expected."""
    for why, *arguments in [
            ("did you mean --output?", "status", "--ouptut", "json"),
            ("did you mean --config?", "edge", "--confg", "x"),
            ("did you mean --regions?", "demo", "--region", "3"),
            ("see `fulmar help edge`", "edge", "--zzzzzz"),
            ("`fulmar edge` has no option --output", "edge", "-o", "json"),
            ("`fulmar status` has no option -z", "status", "-z"),
            ("--config needs a value: --config FILE", "edge", "--config"),
            ("-c needs a value: -c FILE", "edge", "-c"),
            ("--keep takes no value", "demo", "--keep=1"),
            ("does not take `more`", "config", "check", "one", "more"),
            ("does not take `x`", "edge", "x"),
            ("-o takes table, json or yaml, not `xml`", "status", "-o", "xml"),
            ("--color takes auto, always or never, not `blue`", "status", "--color", "blue"),
            ("such as 500ms or 5s, not `5`", "status", "--timeout", "5"),
            ("not `5x`", "status", "--timeout=5x"), ("not `-1s`", "status", "--timeout=-1s"),
            ("--rate takes a whole number from 1 to 1000000, not `0`", "demo", "--rate", "0"),
            ("not `1e3`", "demo", "--rate", "1e3"), ("not `-5`", "demo", "--rate", "-5"),
            ("not `99999999999999999999`", "demo", "--rate", "99999999999999999999"),
            ("--regions takes a whole number from 2 to 8, not `1`", "demo", "--regions", "1"),
            ("not `9`", "demo", "--regions", "9"),
            ("several with commas, or all, not `fire`", "demo", "--scenario", "fire"),
            ("there is no story `casino`", "demo", "casino")]:
        refused(64, why, *arguments)


def test_forms_of_options(stage):
    """-c FILE, -cFILE, --config FILE, --config=FILE, and what stands behind -- is no option."""
    conf = stage.write("a.yaml", GOOD[1].read_text())
    for form in (["-c", conf], [f"-c{conf}"], ["--config", conf], [f"--config={conf}"], [conf],
                 ["--", conf]):
        done = run("config", "check", *form)
        check_equal(done.code, 0, f"config check {form}: {done.err}")
    refused(78, "--config", "config", "check", "--", "--config")


# -------- configuration --------


def test_which_file(stage):
    """-c, else FULMAR_CONFIG, else /etc; never a file of the folder one is in."""
    good, bad = stage.write("good.yaml", GOOD[1].read_text()), stage.write("fulmar.yaml", "x: 1\n")
    check(str(good) in run("config", "check", FULMAR_CONFIG=str(good)).out, "FULMAR_CONFIG")
    check_equal(run("config", "check", "-c", good, FULMAR_CONFIG=str(bad)).code, 0, "-c wins")
    done = subprocess.run([FULMAR, "config", "check"], cwd=stage.dir, capture_output=True,
                          text=True, check=False, env={"PATH": "/usr/bin:/bin"})
    check("fulmar.yaml:1:1" not in done.stderr, "a file of the working directory was read")
    if not os.path.exists("/etc/fulmar/fulmar.yaml"):
        check_equal(done.returncode, 78, "without any")
        check("/etc/fulmar/fulmar.yaml" in done.stderr, f"{done.stderr!r}")


def test_config_check(stage):
    """0 and one line for a good file, and one for each context that one region alone may write; 78
    and all errors with line and column for a bad one."""
    for path in GOOD:
        done = run("config", "check", path)
        check_equal(done.code, 0, f"{path}: {done.err}")
        first, _, rest = done.out.partition("\n")
        check(re.fullmatch(rf"{path} is good: service \w+, \d+ regions?, .+", first), first)
        floors = run("config", "check", path, "-o", "json").json()["contexts"]
        check_equal([line.split()[0] for line in rest.split("\n") if line],
                    ["CONTEXT"] * bool(floors) + [f["context"] for f in floors], f"{path}: contexts")
        for f in floors:
            parts = {name: ms or 0 for name, ms in f["parts"].items()}
            check_equal(f["floor_ms"], parts["person_ms"] + max(
                parts["lease_wait_ms"], parts["detection_ms"] + parts["grace_ms"],
                parts["election_ms"]), f"{path}: {f}")
    bad = stage.write("bad.yaml", 'fulmar: 1\nservice: shop\nedge: {listen: [{addres: "x"}]}\n'
                                  "regions: {}\ncontexts: {a: {topology: multi-writ}}\n")
    done = run("config", "check", bad)
    check_equal((done.code, done.out), (78, ""), "a bad file")
    for where in (":3:18: error: unknown key `addres`", ":5:26: error:"):
        check(f"{bad}{where}" in done.err, f"{where} is not in:\n{done.err}")
    check("did you mean `address`?" in done.err and "did you mean `multi-write`?" in done.err,
          f"no advice in:\n{done.err}")
    refused(78, "nothing.yaml", "config", "check", stage.path("nothing.yaml"))
    refused(78, str(stage.dir), "config", "check", stage.dir)


def test_config_check_documents(stage):
    """For every broken file: the JSON document agrees with the text, and YAML with JSON."""
    files = sorted(BROKEN.glob("*.yaml"))
    check(len(files) >= 30, f"only {len(files)} broken files")
    for path in files:
        text, done = run("config", "check", path), run("config", "check", path, "-o", "json")
        doc = done.json()
        check_equal(doc["schema"], "fulmar.config-check/1", f"{path.name}: schema")
        check_equal(done.code, text.code, f"{path.name}: exit code")
        check_equal(done.code, 0 if doc["good"] else 78, f"{path.name}: exit code")
        check_equal(done.err, "", f"{path.name}: stderr")
        check_equal(doc["good"], doc["errors"] == 0, f"{path.name}: good")
        check_equal(doc["contexts"] is None, not doc["good"], f"{path.name}: contexts")
        severities = [f["severity"] for f in doc["findings"]]
        check_equal((severities.count("error"), severities.count("warning")),
                    (doc["errors"], doc["warnings"]), f"{path.name}: counts")
        for f in doc["findings"]:
            where = f["file"] + (f":{f['line']}:{f['column']}" if f["line"] else "")
            check(f"{where}: {f['severity']}: {f['what']}" in text.err,
                  f"{path.name}: {f} is not in the text")
        if yaml:
            also = yaml.safe_load(run("config", "check", path, "-o", "yaml").out)
            check_equal(also, doc, f"{path.name}: YAML")


def test_schema(stage):
    """The JSON Schema is one, takes the examples, and refuses what the check refuses."""
    done = run("config", "schema")
    check_equal((done.code, done.err), (0, ""), "config schema")
    schema = done.json()
    check_equal(schema["$schema"], "https://json-schema.org/draft/2020-12/schema", "dialect")

    def references(node):
        if isinstance(node, dict):
            for key, value in node.items():
                yield from [value] if key == "$ref" else references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)
    for ref in references(schema):
        check(ref.startswith("#/$defs/") and ref[8:] in schema["$defs"], f"{ref} leads nowhere")
    if not jsonschema or not yaml:
        raise lib.Skip("python3-jsonschema or python3-yaml is not installed")
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    good = GOOD + [ROOT / "examples" / "bank" / "contexts.yaml"]
    for path in good:
        errors = [e.message for e in validator.iter_errors(yaml.safe_load(path.read_text()))]
        check(not errors, f"{path}: {errors}")
    for name in ("unknown-keys", "durations", "sizes", "words", "numbers", "booleans", "kinds"):
        text = (BROKEN / f"{name}.yaml").read_text()
        check(not validator.is_valid(yaml.safe_load(text)), f"{name}.yaml is valid by the schema")


def test_reference(stage):
    """The reference page is that of the docs."""
    done = run("config", "reference")
    check_equal((done.code, done.err), (0, ""), "config reference")
    page = (ROOT / "docs" / "reference" / "configuration.md").read_text()
    check(done.out == page, "docs/reference/configuration.md is not what this version prints; "
                            "make it anew: fulmar config reference")


# -------- daemons that cannot start --------


def test_daemons_refuse(stage):
    """Exit 78 for what the configuration must change, 1 for what this machine must."""
    bad = stage.write("bad.yaml", "fulmar: 1\n")
    conf, ports = shop(stage)
    for daemon in ("edge", "agent"):
        refused(78, "bad.yaml", daemon, "-c", bad)
        refused(78, "no.yaml", daemon, "-c", stage.path("no.yaml"))
        refused(78, "host `who` is not under `hosts`", daemon, "-c", conf, "--host", "who")
    refused(78, "role of an edge", "edge", "-c", conf, "--host", "west-1")
    refused(78, "role of an agent", "agent", "-c", conf, "--host", "edge-1")
    refused(78, "there is no region `moon`", "edge", "-c", conf, "--region", "moon")
    with socket.create_server(("127.0.0.1", ports["port"])):
        refused(1, "in use", "edge", "-c", conf, "--host", "edge-1")
    with socket.create_server(("127.0.0.1", ports["agent"])):
        refused(1, "in use", "agent", "-c", conf, "--host", "west-1")
    stage.path("edge-1").joinpath("edge.sock").unlink(missing_ok=True)


def test_second_edge(stage):
    """An edge with a state folder and an admin port of its own does not take half of the connections of another one."""
    conf, ports, edge = start_edge(stage)
    text = conf.read_text().replace("{host}", "{host}-2").replace(f"127.0.0.1:{ports['admin']}", f"127.0.0.1:{lib.free_port()}")
    second = stage.write("second.yaml", text)
    refused(1, f"cannot listen on 127.0.0.1:{ports['port']} (another process listens there)", "edge", "-c", second,
            "--host", "edge-1")
    edge.stop()
    stage.fulmar("second", "edge", "-c", second, "--host", "edge-1", port=ports["port"])


# -------- status --------


def shop(stage):
    """The configuration of an edge and an agent."""
    ports = {name: lib.free_port() for name in ("admin", "peer", "agent", "port", "nobody")}
    west = WEST.format(**ports)
    return stage.write("agent.yaml", CONFIG.format(dir=stage.dir, west=west, **ports)), ports


def start_edge(stage):
    """An edge that does not know of the agent: what it sees does not change by itself."""
    _, ports = shop(stage)
    conf = stage.write("shop.yaml", CONFIG.format(dir=stage.dir, west="", **ports))
    # what it opens last: from then on all of it is there
    edge = stage.fulmar("edge", "edge", "-c", conf, "--host", "edge-1", port=ports["admin"])
    return conf, ports, edge


def start_agent(stage, ports):
    conf = stage.path("agent.yaml")
    stage.fulmar("agent", "agent", "-c", conf, "--host", "west-1", port=ports["agent"])
    wait_until("a result of each check",
               lambda: b"unknown" not in lib.get(ports["peer"], "/health/deep").body)
    return conf


def test_status_documents(stage):
    """JSON and YAML: a schema, one line each with --watch, the same whomever one asks how."""
    conf, ports, edge = start_edge(stage)
    both = start_agent(stage, ports)
    done = run("status", "-c", conf, "--host", "edge-1", "-o", "json")
    check_equal((done.code, done.err), (0, ""), "status")
    doc = done.json()
    check_equal((doc["schema"], doc["service"], doc["role"], doc["host"]),
                ("fulmar.status/1", "shop", "edge", "edge-1"), "document")
    check_equal([r["region"] for r in doc["regions"]], ["west", "north"], "regions")
    check_equal([c["context"] for c in doc["regions"][0]["contexts"]], ["ledger", "cards"],
                "contexts")

    def fixed(document):
        return [document[k] for k in ("schema", "service", "role", "host", "started_at", "config")]
    for way in (["-c", conf, "--server", "edge-1"], ["--server", f"127.0.0.1:{ports['admin']}"]):
        check_equal(fixed(run("status", *way, "-o", "json").json()), fixed(doc), f"by {way}")
    check_equal(run("status", "-c", both, "--server", "west-1", "-o", "json").json()["role"],
                "agent", "another host")
    if yaml:
        done = run("status", "-c", conf, "--host", "edge-1", "-o", "yaml")
        check_equal(fixed(yaml.safe_load(done.out)), fixed(doc), "YAML")

    watch = stage.start("watch", [FULMAR, "status", "-c", conf, "--host", "edge-1", "-o", "json",
                                  "--watch"])
    wait_until("two documents", lambda: watch.output().count("\n") >= 2)
    edge.stop()
    wait_until("it says that nobody answers", lambda: "fulmar.error/1" in watch.output())
    watch.signal(signal.SIGINT)
    watch.wait()
    lines = [l for l in lib.whole_lines(watch.log).splitlines() if l.startswith("{")]
    schemas = [json.loads(line)["schema"] for line in lines]
    check_equal(schemas[:2], ["fulmar.status/1"] * 2, "lines")


def test_status_table(stage):
    """A row for each region and context, checks of agents, the filter, --check."""
    conf, ports, _ = start_edge(stage)
    edge = ["-c", conf, "--host", "edge-1"]
    agent = ["-c", start_agent(stage, ports), "--host", "west-1"]
    done = run("status", *edge)
    check_equal((done.code, done.err), (0, ""), "status")
    check(re.match(r"service shop, edge edge-1, version \S+, generation \d+, \d+ connections\n\n"
                   r"REGION +INTENT +CONTEXT +HEALTH +SHARE +SINCE +IN-FLIGHT +SENT +WHY\n",
                   done.out), f"head of:\n{done.out}")
    rows = re.findall(r"^(west|north) +serve +(ledger|cards) +(up) +100.0% ", done.out, re.M)
    check_equal(len(rows), 4, f"rows in:\n{done.out}")
    check_equal(run("status", *edge, "--check").code, 0, "--check while all is well")
    for word, n in (("north", 2), ("cards", 2)):
        out = run("status", word, *edge).out
        check_equal(len(re.findall(r"^(?:west|north) ", out, re.M)), n, f"rows with {word}:\n{out}")
    refused(64, "no region or context `mars`", "status", "mars", *edge)

    for _ in range(20):  # nobody is behind it: both regions go down
        lib.get(ports["port"], "/ledger/1")
    wait_until("it is down", lambda: " down " in run("status", *edge).out)
    out = run("status", *edge).out
    check(re.search(r"^Last events:\n  \d\d:\d\d:\d\d  (west|north)/ledger  up -> down: \S", out,
                    re.M), f"events of:\n{out}")
    check_equal(run("status", *edge, "--check").code, 2, "--check while a region is down")

    out = run("status", *agent).out
    check(re.match(r"service shop, agent west-1, version \S+\n\nCHECK +TYPE +STATE", out), out)
    check(re.search(r"^fine +command +good +[0-9.]+ ms", out, re.M), out)
    check(re.search(r"^broken +command +bad +[0-9.]+ ms  exit code 1: no disk$", out, re.M), out)
    check(re.search(r"^cards cannot be served here: broken is bad", out, re.M), out)
    check_equal(run("status", *agent, "--check").code, 2, "--check with a bad check")


def test_status_without_answer(stage):
    """69 where nobody answers, 78 for the file, with a document where one was asked for."""
    conf, ports = shop(stage)
    refused(69, "no edge or agent of host `edge-1` runs here", "status", "-c", conf, "--host",
            "edge-1")
    refused(69, "does not answer", "status", "--server", f"127.0.0.1:{ports['admin']}")
    # no host of this machine, whose daemons would be asked where the file says no other folder
    refused(78, "no.yaml", "status", "-c", stage.path("no.yaml"), "--host", "nobody.invalid")
    refused(64, "neither a host", "status", "-c", conf, "--server", "nobody")
    done = run("status", "--server", f"127.0.0.1:{ports['admin']}", "-o", "json")
    doc = done.json()
    check_equal((done.code, doc["schema"], doc["exit_code"]), (69, "fulmar.error/1", 69), "document")
    check("does not answer" in doc["error"], f"{doc}")
    done = run("status", "-c", conf, "--host", "edge-1", "-o", "json")
    check("--server" in done.json()["remedy"], f"remedy: {done.out}")
    with socket.create_server(("127.0.0.1", ports["admin"])):  # says nothing
        started = time.monotonic()
        refused(69, "does not answer", "status", "--timeout", "200ms", "--server",
                f"127.0.0.1:{ports['admin']}")
        check(time.monotonic() - started < 4.5, "--timeout was not taken")


def test_frozen_daemon(stage):
    """A daemon that is stopped does not hang the command."""
    conf, _, edge = start_edge(stage)
    edge.freeze()
    refused(69, "does not answer", "status", "-c", conf, "--host", "edge-1", "--timeout", "300ms")
    edge.signal(signal.SIGCONT)
    check_equal(run("status", "-c", conf, "--host", "edge-1").code, 0, "afterwards")


def test_status_shows_a_refused_reload(stage):
    """After SIGHUP with a bad file `status` shows what is wrong with it, and where."""
    conf, _, edge = start_edge(stage)
    conf_text = conf.read_text()
    conf.write_text(conf_text.replace("topology", "topolgy"))
    edge.signal(signal.SIGHUP)
    wait_until("the refusal", lambda: '"event":"reload_refused"' in edge.output())
    conf.write_text(conf_text)  # the command reads it, too
    out = run("status", "-c", conf, "--host", "edge-1").out
    check("THE LAST RELOAD WAS REFUSED" in out and "did you mean `topology`?" in out, out)
    check(re.search(r"shop\.yaml:\d+:\d+: error: ", out), f"no place in:\n{out}")
    edge.signal(signal.SIGHUP)
    wait_until("the reload", lambda: '"event":"reloaded"' in edge.output())
    check("REFUSED" not in run("status", "-c", conf, "--host", "edge-1").out, "still refused")


# -------- where the output goes --------


def on_terminal(*arguments, **env):
    """What it prints to a terminal."""
    master, slave = pty.openpty()
    try:
        clean = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM")}
        with subprocess.Popen([FULMAR, *map(str, arguments)], stdout=slave, stdin=slave,
                              env={**clean, "TERM": "xterm", **env}) as process:
            os.close(slave)
            slave = -1
            out = b""
            while select.select([master], [], [], lib.PATIENCE_S)[0]:
                try:
                    data = os.read(master, 65536)
                except OSError:  # the other side is closed
                    break
                out += data
            process.wait(lib.PATIENCE_S)
        return out.decode()
    finally:
        os.close(master)
        if slave >= 0:
            os.close(slave)


def test_color(stage):
    """On a terminal unless NO_COLOR or TERM=dumb, never in a pipe, or as told."""
    conf, _, _ = start_edge(stage)
    status = ["status", "-c", conf, "--host", "edge-1"]
    green = "\033[32mup"
    for expected, arguments, env in [
            (True, [], {}), (False, [], {"NO_COLOR": "1"}), (True, [], {"NO_COLOR": ""}),
            (False, [], {"TERM": "dumb"}), (False, ["--color", "never"], {}),
            (True, ["--color", "always"], {"NO_COLOR": "1"}), (False, ["-o", "json"], {})]:
        out = on_terminal(*status, *arguments, **env)
        check("ledger" in out, f"no status on a terminal: {out[:200]!r}")
        check_equal(green in out, expected, f"colour on a terminal with {arguments} {env}")
    check("\033" not in run(*status).out, "colour in a pipe")
    check(green in run(*status, "--color", "always").out, "no colour with --color always")


def test_output_that_nobody_takes(stage):
    """A closed pipe ends it quietly; a full disk is an error, not a result."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        done = subprocess.run([FULMAR, "config", "reference"], stdout=pipe, stderr=subprocess.PIPE,
                              check=False, timeout=30, text=True)
    check(done.returncode in (-signal.SIGPIPE, 1), f"exit code {done.returncode}")
    check_equal(done.stderr if done.returncode != 1 else "", "", "stderr with a closed pipe")
    for arguments in (["config", "schema"], ["help"], ["config", "check", GOOD[1], "-o", "json"]):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([FULMAR, *map(str, arguments)], stdout=full,
                                  stderr=subprocess.PIPE, check=False, timeout=30, text=True)
        check_equal(done.returncode, 1, f"exit code of {arguments} on a full disk")
        check("cannot write the result" in done.stderr, f"{done.stderr!r}")


if __name__ == "__main__":
    lib.main(globals())
