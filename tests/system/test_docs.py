#!/usr/bin/env python3
"""The README and the docs: does what they say exist, and does what they tell one to type work? Their
commands are run as they stand there, with other folders and ports."""

import glob
import os
import pwd
import re
import socket
import subprocess
import sys
import threading

import lib
from lib import FULMAR, ROOT, check, check_equal, wait_until

BANK = os.path.join(os.environ.get("FULMAR_BUILD", str(ROOT / "build")), "examples/bank/bank")
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md"),
                *ROOT.glob("examples/**/*.md")])


def run(*argv):
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, check=False,
                          timeout=30, cwd=ROOT)
    return done.returncode, done.stdout, done.stderr


def short(page):
    return str(page.relative_to(ROOT))


def blocks(page, language=""):
    """The code blocks of a page with this word behind the fence."""
    every = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.M | re.S)
    return [text for word, text in every if word == language]


def anchors(page):
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}


# -------- what they name exists --------


def test_links(stage):
    """Every relative link leads to a file or folder of the tree, and to a title in it."""
    links = 0
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if re.match(r"[a-z]+:", target):
                continue
            links += 1
            path, _, anchor = target.partition("#")
            there = (page.parent / path).resolve() if path else page
            check(there.exists(), f"{short(page)}: {target} leads nowhere")
            check(not anchor or anchor in anchors(there), f"{short(page)}: no title for {target}")
    check(links >= 10, f"only {links} links")


def test_paths(stage):
    """Files of the tree that are named in `code` are there."""
    for page in PAGES:
        for path in re.findall(r"`((?:src|docs|tests|bench|examples)/[\w./-]+)`", page.read_text()):
            there = ROOT / path.rstrip(".")
            found = there.exists() or (ROOT / "build" / path).exists() or list(
                there.parent.glob(there.name + ".*"))
            check(found, f"{short(page)}: there is no {path}")


def commands_and_options():
    """What the program has: {command: options}."""
    code, out, _ = run(FULMAR)
    check_equal(code, 0, "fulmar alone")
    names = re.findall(r"^  (\S+(?: \S+)?)  ", out, re.M)
    texts = {name: run(FULMAR, "help", *name.split())[1] for name in names}
    return {n: set(re.findall(r"--[a-z-]+", t)) | set(re.findall(r"^  (-\w), ", t, re.M))
            for n, t in texts.items()}


def test_commands(stage):
    """Every `fulmar COMMAND --option` and `./dev COMMAND` in the docs exists."""
    known = commands_and_options()
    dev = set(re.findall(r"^  (\w+) ", run("./dev")[1], re.M))
    check({"build", "test", "demo", "bench", "soak", "fuzz", "fmt", "lint"} <= dev, f"./dev: {dev}")
    seen = 0
    for page in PAGES:
        text = page.read_text()
        for line in re.findall(r"(?:`|^|\s)(?:build/)?fulmar ([a-z][^`\n#;)]*)", text, re.M):
            words = line.split()
            two, one = " ".join(words[:2]), words[0]
            name = two if two in known else one if one in known else None
            inside = re.search(rf"`[^`\n]*fulmar {re.escape(line[:20])}|^(?:build/)?fulmar "
                               rf"{re.escape(line[:20])}", text, re.M)
            if not inside:  # a sentence
                continue
            if not name and any(k.startswith(f"{one} ") for k in known):
                continue  # a group of commands by its name
            check(name or one == "COMMAND", f"{short(page)}: there is no `fulmar {line}`")
            seen += 1
            for option in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", line):
                check(option in known[name], f"{short(page)}: fulmar {name} has no {option}")
        for command in re.findall(r"\./dev ([a-z]+)", text):
            check(command in dev, f"{short(page)}: there is no ./dev {command}")
    check(seen >= 15, f"only {seen} commands")


def test_reference_of_commands(stage):
    """docs/reference/cli.md has every command with its options, and every exit code."""
    page = (ROOT / "docs" / "reference" / "cli.md").read_text()
    known = commands_and_options()
    groups = "|".join(sorted({name.split()[0] + " " for name in known if " " in name}))
    rows = dict(re.findall(rf"^\| `fulmar ((?:{groups})?[\w-]+)([^`]*)` \|", page, re.M))
    check_equal(sorted([*rows, "help"]), sorted(known), "commands of the page")
    for name, rest in rows.items():
        for option in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", rest):
            check(option in known[name], f"fulmar {name} has no {option}")
    header = (ROOT / "src" / "cli" / "cli.h").read_text()
    codes = set(re.findall(r"FM_EXIT_\w+ = (\d+)", header)) 
    listed = set(re.findall(r"^\| (\d+) \|", page, re.M)) - {"130"}
    check_equal(listed, codes, "exit codes")


def test_reference_of_the_wire(stage):
    """docs/reference/wire.md has every problem type with its status, and every header."""
    page = (ROOT / "docs" / "reference" / "wire.md").read_text()
    listed = {}
    for row in re.findall(r"^\| (`[^|]+) \| (\d{3})[^|]* \|", page, re.M):
        first, *others = re.findall(r"`([\w-]+)`", row[0])
        others = [first.split("-")[0] + o if o.startswith("-") else o for o in others]
        listed.update({name: row[1] for name in [first, *others]})
    source = (ROOT / "src" / "core" / "problem.h").read_text()
    check_equal(listed, dict(re.findall(r'X\(\w+, "([\w-]+)", (\d+)', source)), "problems")
    headers = re.findall(r"^\| `([\w-]+)` \| ", page.split("## Problems")[0], re.M)
    known = set(re.findall(r'"(fulmar-[a-z]+)"', (ROOT / "src" / "http" / "msg.h").read_text()))
    check({h.lower() for h in headers} >= known, f"headers {known - {h.lower() for h in headers}}")


def test_metrics_of_the_docs(stage):
    """The metrics that operations.md says to alert on are there."""
    port, admin = lib.free_port(), lib.free_port()
    conf = stage.write("edge.yaml", first_yaml(ROOT / "README.md", stage, port, admin))
    stage.fulmar("edge", "edge", "-c", conf, port=port)
    lib.get(port, "/")
    have = set(re.findall(r"^(fulmar_\w+)", lib.get(admin, "/metrics").body.decode(), re.M))
    named = set(re.findall(r"`(fulmar_(?:edge|gate|agent)_\w+)", (ROOT / "docs" / "operations.md").read_text()))
    elsewhere = ("fulmar_agent_queue_", "fulmar_gate_door_")  # test_queue and test_group_door look at those
    named = {n for n in named if not n.startswith(elsewhere)}
    named = {n.replace("fulmar_gate_", "fulmar_edge_") for n in named}  # the same table makes both
    check(len(named) >= 6, f"only {named}")
    check(named <= have, f"not in /metrics: {named - have}")


# -------- what they tell one to do works --------


def first_yaml(page, stage, port, admin):
    """The first configuration of a page, on ports and in a folder of this test."""
    text = blocks(page, "yaml")[0]
    check("fulmar: 1" in text, f"the first example of {short(page)} is no whole file")
    return at_home(text, stage, port, admin)


def at_home(text, stage, port, admin):
    text, n = re.subn(r'edge: \{listen: \[\{address: "[\d.]+:8080"\}\]\}',
                      f'edge: {{listen: [{{address: "127.0.0.1:{port}"}}], '
                      f'admin: "127.0.0.1:{admin}"}}', text)
    check_equal(n, 1, "edges in the example")
    return f'state: "{stage.dir}/state"\n{text}'


def test_readme_example(stage):
    """The file of the README is good, as it stands there and with the commands below it."""
    page = ROOT / "README.md"
    conf = stage.write("fulmar.yaml", blocks(page, "yaml")[0])
    code, out, err = run(FULMAR, "config", "check", conf)
    check_equal((code, "error" in err), (0, False), f"the example: {err}")
    check("is good: service shop, 2 regions" in out, out)
    typed = [b for b in blocks(page) if "build/fulmar edge" in b]
    check_equal(len(typed), 1, "blocks with commands")
    check("config check fulmar.yaml" in typed[0] and "status -c fulmar.yaml" in typed[0], typed[0])


class Clients:
    """Clients that ask until they are stopped; what they got."""

    def __init__(self, stage, port, path):
        self.failed, self.regions, self.n = [], set(), 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(port, path)) for _ in range(2)]
        stage.on_end(self.stop)
        for thread in self._threads:
            thread.start()

    def _ask(self, port, path):
        while not self._stop.is_set():
            try:
                answer = lib.get(port, path)
                self.n += 1
                self.regions.add(answer.header("fulmar-region"))
                if answer.status != 200 or not answer.body.startswith(b"from "):
                    self.failed.append((answer.status, answer.body[:100]))
            except Exception as failure:  # told by the thread that runs the test
                self.failed.append(failure)

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def more(self, n=40):
        seen = self.n
        wait_until("requests pass", lambda: self.n >= seen + n or self.failed)


def test_tutorial(stage):
    """Chapters 1 and 2: two `python3 -m http.server`, an edge, one killed, a reload. No request
    fails."""
    page = ROOT / "docs" / "tutorial.md"
    setup, start = blocks(page)[0], blocks(page)[1]
    whole, preferred = blocks(page, "yaml")[:2]
    port, admin, west, north = (lib.free_port() for _ in range(4))
    conf = stage.path("fulmar.yaml")

    def here(text):
        for old, new in (("/tmp/shop", stage.dir), ("9001", west), ("9002", north),
                         ("127.0.0.1:8080/", f"127.0.0.1:{port}/"), ("build/fulmar", FULMAR)):
            text = text.replace(old, str(new))
        return text
    for line in here(setup).splitlines():
        if line.startswith(("mkdir", "echo")):
            check_equal(subprocess.run(["sh", "-c", line], check=False).returncode, 0, line)
    servers = {}
    for name, there in (("west", west), ("north", north)):
        line = re.search(rf"^python3 (-m http\.server {there} .+?) +2>\S+ +& {name}=\$!$", here(setup), re.M)
        argv = [sys.executable, *line[1].split(), "--bind", "127.0.0.1"]
        servers[name] = (argv, there, stage.start_until(name, argv, there))
    conf.write_text(at_home(here(whole), stage, port, admin))
    check_line, edge_line, curl_line = here(start).splitlines()
    check_equal(run("sh", "-c", check_line)[0], 0, check_line)
    edge = re.sub(r" 2>\S+ & edge=\$!$", "", edge_line).split()
    edge = stage.fulmar("edge", *edge[1:], port=port)
    code, out, _ = run("sh", "-c", curl_line)
    check(code == 0 and re.search(r"^Fulmar-Ref: \S+\r?$", out, re.M | re.I), f"curl: {out}")
    check("from " in out, f"curl: {out}")

    clients = Clients(stage, port, "/hello")
    wait_until("both regions answer", lambda: clients.regions == {"west", "north"})
    for name in ("west", "north"):
        argv, there, process = servers[name]
        process.kill()
        status = here(blocks(page)[2]).splitlines()[-1]
        down = rf"^{name} .* down "
        wait_until(f"{name} is shown as down", lambda: re.search(
            down, run("sh", "-c", status)[1], re.M) or clients.failed, every=0.1)
        clients.more()
        process = stage.start_until(f"{name} again", argv, there)
        servers[name] = (argv, there, process)
        wait_until(f"{name} is well again", lambda: len(re.findall(
            r" up +100.0%", run("sh", "-c", status)[1])) == 2 or clients.failed, 30, every=0.1)
        check(not clients.failed, f"after {name} was killed: {clients.failed[:2]}")

    head = re.split(r"^regions:", conf.read_text(), flags=re.M)[0]
    conf.write_text(head + here(preferred))
    edge.signal(lib.signal.SIGHUP)
    wait_until("the reload", lambda: '"event":"reloaded"' in edge.output())

    def only_west():
        clients.regions = set()
        clients.more(20)
        return clients.regions == {"west"}
    wait_until("all traffic goes to west", only_west)
    clients.stop()
    check(not clients.failed, f"{len(clients.failed)} of {clients.n}: {clients.failed[:2]}")


def is_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


def other_ports(texts):
    """The ports 71xx, 80xx, 90xx and 91xx of these texts with other first digits, where they are
    free: a function that rewrites a text."""
    used = {80: {80}, 71: {4, 10, 11, 12, 20, 21, 22, 31, 32}, 90: {0}, 91: set()}
    for r in (1, 2):
        used[90] |= {10 * r + i for i in (1, 2, 9)}
        used[91] |= {10 * r + i for i in (1, 2)}
    for base in range(20 + os.getpid() % 16, 66, 4):
        to = dict(zip(used, range(base, base + 4)))
        if all(is_free(to[p] * 100 + n) for p, ns in used.items() for n in ns):
            return [re.sub(r"(?<![\d.])(71|80|90|91)(?=\d\d\b|\$\{r\}\d)",
                           lambda m: str(to[int(m[1])]), t) for t in texts]
    raise lib.Skip("not enough free ports in a row")


def test_bank_by_hand(stage):
    """examples/bank/README.md: the bank is started by hand, answers, applies a key once, and is moved."""
    page = ROOT / "examples" / "bank" / "README.md"
    conf, contexts = ROOT / "examples/bank/fulmar.yaml", ROOT / "examples/bank/contexts.yaml"
    start, use, text = other_ports([*blocks(page)[:2], conf.read_text()])
    stage.write("contexts.yaml", contexts.read_text())
    mine = stage.write("fulmar.yaml", text.replace("/tmp/bank", str(stage.dir)))

    def here(commands):
        for old, new in (("/tmp/bank", stage.dir), ("build/fulmar", FULMAR),
                         ("build/examples/bank/bank", BANK),
                         ("examples/bank/fulmar.yaml", mine)):
            commands = commands.replace(old, str(new))
        return commands
    port = int(re.search(r"http://127\.0\.0\.1:(\d+)/catalog", use)[1])
    stage.start("bank", ["sh", "-c", here(start) + "\nwait\n"])
    wait_until("the edge listens", lambda: lib.listens(port))
    wait_until("regions are well", lambda: lib.get(port, "/profile/me").status == 200)
    bodies = []
    environment = re.search(r"^C=.*$", here(start), re.M)[0]
    for line in here(use).splitlines():
        code, out, err = run("sh", "-c", f"{environment}\n{line}")
        check_equal(code, 0, f"exit code of {line} ({err})")
        if "/mode/" in line:
            check_equal(out, "done\n", line)
        elif "curl" in line:
            head, _, body = out.replace("\r", "").partition("\n\n")
            check(" 200 " in head.splitlines()[0], f"{line}: {head}")
            bodies.append(body)
        elif " move " in line:
            check("to north" in out, f"{line}: {out}")
        else:
            check("REGION" in out and "west" in out and "north" in out, f"{line}: {out}")
    check_equal(len(bodies), 3, "answers")
    check_equal(bodies[1], bodies[2], "the answers to the same key")
    again = lib.get(port, "/ledger/me").json()
    check_equal(again["balance"], 1000000 - 5, f"applied once: {again}")


def test_try_a_group(stage):
    """docs/try-a-group.md, from its first line to its last; where it says `until`, that is waited for."""
    if not glob.glob("/usr/lib/postgresql/*/bin/postgres"):
        raise lib.Skip("PostgreSQL is not installed")
    page = ROOT / "docs" / "try-a-group.md"
    config, ports = blocks(page, "yaml")[0], {}
    for port in sorted(set(re.findall(r"(?<=127\.0\.0\.1:)\d{4}|(?<=port: )\d{4}", config))):
        ports[port] = str(lib.free_port())
    user = pwd.getpwuid(os.geteuid()).pw_name

    def here(text):
        text = re.sub(r"\b\d{4}\b", lambda m: ports.get(m[0], m[0]), text)
        if user != "root":
            text = text.replace("user: postgres", f"user: {user}").replace("chown postgres", "true")
        return text.replace("/tmp/try", str(stage.path("try")))
    untils = {"`ledger` is held": r"^ledger +0 +west ", "a `standby`": r"at most 0 bytes.*standby .*streaming",
              "it is `asking`": "asking"}
    script = ["set -e", "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT",  # agents, where a step fails
              'until_it() { for i in $(seq 200); do "$@" 2>&1 && return; sleep 0.3; done; fulmar group status --host west-1; fulmar group status --host north-1; exit 9; }',
              f"export PATH={os.path.dirname(FULMAR)}:$PATH"]
    for i, block in enumerate(blocks(page, "sh")):
        for line in here(block).splitlines():
            comment = line.partition(" # ")[2]
            wanted = [pattern for words, pattern in untils.items() if "until" in comment and words in comment]
            if wanted:
                asked = line.partition(" # ")[0].strip()
                script += [f"look() {{ {asked} | tr '\\n' ' ' | grep -E '{wanted[0].lstrip('^')}'; }}", "until_it look"]
            elif "--dry-run" in line:
                script.append(f"{line.partition(' # ')[0]} || test $? -eq 3")
            elif "--reason \"home\"" in line:
                script += [f"home() {{ {line.partition(' # ')[0]}; }}", "until_it home"]
            else:
                script.append(line)
        if i == 0:
            script.append(f"cat > {stage.path('try')}/fulmar.yaml <<'END'\n{here(config)}END")
    stage.dir.chmod(0o755)
    page = stage.start("page", ["bash", "-c", "\n".join(script)])
    code = page.wait(250)
    check_equal(code, 0, f"exit code; {page.output()[-3000:]}")
    said = page.output()
    for words in (" 1\n 2\n 3\n", "the rule `soak`", "every cell is home"):
        check(words in said, f"{words!r} is not in {said}")
    check(not stage.path("try").exists(), "it is away")


if __name__ == "__main__":
    lib.main(globals())
