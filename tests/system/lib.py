"""What the system tests share: a stage with processes that are cleaned up whatever happens, waiting
with deadlines, HTTP over raw sockets, and `main`.

A test is a function named test_* that takes a Stage. It fails by an exception; `check` makes one.
Its first line of documentation is what `--list` prints. A test file ends with

    if __name__ == "__main__":
        lib.main(globals())

and is called as  test_x.py [--list] [NAME...]  with FULMAR=path of the program (build/fulmar).
One line a test on stdout: `ok NAME (seconds)`, `FAIL NAME: why` or `skip NAME: why`; what helps to
understand a failure goes to stderr. Exit 0, or 1 where one failed. Loopback only, standard library
only.
"""

import ctypes
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
FULMAR = os.environ.get("FULMAR", str(ROOT / "build" / "fulmar"))
PATIENCE_S = 30.0  # for what ought to happen at once, on a busy machine
ANSWER_S = 10.0  # for an answer that a client waits for
TEST_MAX_S = 300


class Failure(Exception):
    """A promise that was not kept."""


class Skip(Exception):
    """Something that this test needs is not on this machine."""


def check(condition, why):
    if not condition:
        raise Failure(why)


def check_equal(is_, expected, what):
    check(is_ == expected, f"{what}: {is_!r} instead of {expected!r}")


def wait_until(what, condition, seconds=PATIENCE_S, every=0.005):
    """The first true result of `condition()`; fails after `seconds`. What it costs to ask (often a
    process) must not take the machine from those who are waited for."""
    end = time.monotonic() + seconds
    while True:
        asked = time.monotonic()
        result = condition()
        if result:
            return result
        now = time.monotonic()
        if now > end:
            raise Failure(f"not within {seconds:g} s: {what}")
        time.sleep(max(every, min(4 * (now - asked), 0.2)))


_reservations = []  # open as long as this process lives


def free_port():
    """A TCP port of the loopback that nobody uses now, that no other test is given, and that is below
    those of outgoing connections, one of which could take it before its owner starts."""
    while True:
        port = random.randrange(10000, 32000)
        reservation = socket.socket(socket.AF_UNIX)
        with socket.socket() as s:
            try:
                reservation.bind(f"\0fulmar-port-{port}")  # seen by tests and demonstrations beside this
                s.bind(("127.0.0.1", port))
            except OSError:
                reservation.close()
                continue
        _reservations.append(reservation)
        return port


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def program(name):
    """The path of an installed program; the test is skipped where there is none."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if not found:
        raise Skip(f"{name} is not installed")
    return found


# -------- processes --------

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


def _die_with_the_test():
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def whole_lines(path):
    """The text of a file that somebody may be writing a line to, without that line; "" where there is no file."""
    path = pathlib.Path(path)
    text = path.read_text(errors="replace") if path.exists() else ""
    return text[:text.rfind("\n") + 1]


class Metronome:
    """When this machine let nobody run: what a thread of the test sees that wants to run every few milliseconds."""

    BEAT_S, STALL_S = 0.005, 0.05

    def __init__(self, stage):
        self._stalls = []  # (from, to), both CLOCK_BOOTTIME in ns
        self._ended = threading.Event()
        stage.on_end(self._ended.set)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        while not self._ended.wait(self.BEAT_S):
            now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            if now - before > self.STALL_S * 1e9:
                self._stalls.append((before, now))
            before = now

    def stalled_s(self, since_ns, until_ns):
        """For how long, between these two."""
        return sum(max(0, min(b, until_ns) - max(a, since_ns)) for a, b in list(self._stalls)) / 1e9


class Process:
    """A child of the test with its output in a file. It leads a session of its own, so that Ctrl-C
    reaches the test alone, which then takes its processes down in order."""

    def __init__(self, name, argv, log, env=None, cwd=None):
        self.name = name
        self.log = pathlib.Path(log)
        self.end_was_seen = False  # the test ended it, or looked at how it ended
        with open(self.log, "ab") as out:
            self._popen = subprocess.Popen(
                [str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=cwd,
                env={**os.environ, **(env or {})}, start_new_session=True,
                preexec_fn=_die_with_the_test)

    @property
    def pid(self):
        return self._popen.pid

    def is_alive(self):
        return self._popen.poll() is None

    def signal(self, signo):
        if self.is_alive():
            self._popen.send_signal(signo)

    def freeze(self):
        """Stop it, and wait until it is: a thread that has no processor just then goes on until it gets one."""
        self.signal(signal.SIGSTOP)
        wait_until(f"{self.name} is stopped", lambda: all(state in "TtZX" for state in self._thread_states()))

    def _thread_states(self):
        for thread in pathlib.Path(f"/proc/{self.pid}/task").glob("*/stat"):
            try:
                yield thread.read_text(errors="replace").rpartition(")")[2].split()[0]
            except (OSError, IndexError):
                pass  # it has just ended

    def wait(self, seconds=PATIENCE_S):
        """The exit code, negative for a signal."""
        self.end_was_seen = True
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name} has not ended within {seconds:g} s") from None

    def stop(self, seconds=PATIENCE_S):
        """Ask it to end; the exit code. An agent gives its PostgreSQL ten seconds before it ends it."""
        self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def kill(self):
        """End it now, with all that it started in its session's group."""
        self.end_was_seen = True
        if self.is_alive():
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                self._popen.kill()
        self._popen.wait()

    def output(self):
        """What it has printed; whole lines while it runs, as it may be in the middle of one."""
        alive = self.is_alive()
        return whole_lines(self.log) if alive else self.log.read_text(errors="replace")


class Stage:
    """A folder and the processes of one test."""

    def __init__(self, name):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=f"fulmar-{name[:32]}-"))  # sockets are in it
        self.processes = []
        self._under_test = []
        self._cleanups = []

    def path(self, name):
        return self.dir / name

    def write(self, name, text):
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def on_end(self, call):
        """Call this when the test ends, last one first, before processes are killed."""
        self._cleanups.append(call)

    def start(self, name, argv, env=None, cwd=None):
        process = Process(name, argv, self.path(f"{name}.log"), env, cwd)
        self.processes.append(process)
        return process

    def start_until(self, name, argv, port, **options):
        """Start and wait until it listens on a port."""
        process = self.start(name, argv, **options)
        wait_until(f"{name} listens on {port}", lambda: listens(port) or not process.is_alive())
        check(process.is_alive(), f"{name} has ended; its output is below")
        return process

    def fulmar(self, name, *arguments, port=None, program=None, **options):
        """Start the program under test (or another one) with these arguments. It has to be alive when the test ends
        and to end well when it is asked to, unless the test itself ends it or waits for its end."""
        check(os.access(FULMAR, os.X_OK), f"there is no program {FULMAR}; set FULMAR")
        argv = [program or FULMAR, *arguments]
        if port is None:
            process = self.start(name, argv, **options)
        else:
            process = self.start_until(name, argv, port, **options)
        self._under_test.append(process)
        return process

    def settle(self):
        """At the end of a test that went well: does what is under test end well, too?"""
        self._clean_up()
        for process in self._under_test:
            if process.end_was_seen:
                continue
            check(process.is_alive(), f"{process.name} has ended by itself; its output is below")
            check_equal(process.stop(), 0, f"exit code of {process.name}")
            check("runtime error:" not in process.output(), f"{process.name}: undefined behaviour")

    def _clean_up(self):
        while self._cleanups:
            try:
                self._cleanups.pop()()
            except Exception:  # the others still have to run
                traceback.print_exc()

    def close(self, report):
        self._clean_up()
        for process in reversed(self.processes):
            process.kill()
        if report:
            for process in self.processes:
                tail = process.output().splitlines()[-20:]
                print(f"--- {process.name}", *tail, sep="\n    ", file=sys.stderr)
        shutil.rmtree(self.dir, ignore_errors=True)


# -------- HTTP over raw sockets --------


class Response:
    """An answer as it came: status, headers and trailers as lists of (lower-case name, value), body,
    and the statuses of interim answers before it."""

    def __init__(self, status, headers, body, interim, trailers):
        self.status = status
        self.headers = headers
        self.body = body
        self.interim = interim
        self.trailers = trailers

    def header(self, name):
        values = [v for n, v in self.headers if n == name.lower()]
        return ", ".join(values) if values else None

    def json(self):
        return json.loads(self.body)

    def says_close(self):
        return "close" in (self.header("connection") or "").lower()


class Client:
    """A client connection that sends what it is told to, byte by byte, and reads answers."""

    def __init__(self, port, timeout=ANSWER_S, source="127.0.0.1"):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout, (source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._in = b""
        self.ended = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def send_as_far_as_taken(self, data):
        """For a server that may answer and hang up before it has read all."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def _more(self):
        try:
            data = self.socket.recv(65536)
        except socket.timeout:
            raise Failure(f"no answer within {self.socket.gettimeout():g} s, "
                          f"only {self._in[:200]!r}") from None
        self._in += data
        self.ended = not data
        return bool(data)

    def take(self, n):
        """Exactly n bytes of what comes next, as in a tunnel."""
        while len(self._in) < n:
            if not self._more():
                raise Failure(f"the answer was cut: {self._in[:200]!r}")
        taken, self._in = self._in[:n], self._in[n:]
        return taken

    def take_some(self, most):
        """At least one byte of what comes next."""
        if not self._in and not self._more():
            raise Failure("the answer was cut")
        taken, self._in = self._in[:most], self._in[most:]
        return taken

    def line(self):
        while b"\r\n" not in self._in:
            if not self._more():
                raise Failure(f"the answer was cut: {self._in[:200]!r}")
        line, _, self._in = self._in.partition(b"\r\n")
        return line

    def head(self):
        """Status and headers of the next answer, whatever it is."""
        version, _, rest = self.line().partition(b" ")
        check(version in (b"HTTP/1.1", b"HTTP/1.0"), f"not an answer: {version!r} {rest[:100]!r}")
        return int(rest[:3]), self._fields()

    def _fields(self):
        fields = []
        while line := self.line():
            name, colon, value = line.partition(b":")
            check(colon and name.strip() == name, f"not a header line: {line!r}")
            fields.append((name.decode("latin-1").lower(), value.strip().decode("latin-1")))
        return fields

    def _body(self, headers):
        """With its trailers."""
        names = dict(headers)
        if names.get("transfer-encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.line().split(b";")[0], 16):
                body += self.take(size)
                check_equal(self.take(2), b"\r\n", "the end of a chunk")
            return body, self._fields()
        if "content-length" in names:
            return self.take(int(names["content-length"])), []
        while self._more():
            pass
        body, self._in = self._in, b""
        return body, []

    def is_over(self):
        """Wait for a byte or the end; True where the server has ended the connection, by a proper
        end of stream."""
        if self._in:
            return False
        return self.ended or not self._more()

    def response(self, method="GET"):
        """The next answer; None where the connection ends instead."""
        if self.is_over():
            return None
        interim = []
        while True:
            status, headers = self.head()
            if status == 101 or status >= 200:
                break
            interim.append(status)
        bodiless = method == "HEAD" or status in (101, 204, 304)
        body, trailers = (b"", []) if bodiless else self._body(headers)
        return Response(status, headers, body, interim, trailers)


def request(port, method="GET", path="/", headers=(), body=None, timeout=ANSWER_S):
    """One request on a connection of its own."""
    lines = [f"{method} {path} HTTP/1.1", "Host: test", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    with Client(port, timeout) as client:
        client.send("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))
        response = client.response(method)
        check(response is not None, f"{method} {path}: the connection ended without an answer")
        return response


def get(port, path="/", **options):
    return request(port, "GET", path, **options)


# -------- running --------


def _interrupted(signo, _):
    for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)  # once is enough: now it cleans up
    raise KeyboardInterrupt(signal.Signals(signo).name)


def _too_long(*_):
    raise Failure("took too long")


def _run(name, test):
    """True unless it failed."""
    start = time.monotonic()
    stage = Stage(name.removeprefix("test_"))
    verdict, good = "", False
    signal.alarm(getattr(test, "max_s", TEST_MAX_S))
    try:
        test(stage)
        stage.settle()
        verdict, good = f"ok {name}", True
    except Skip as skip:
        verdict, good = f"skip {name}: {skip}", True
    except Exception as failure:  # a bug of the test is a failure, too
        why = str(failure)
        if not isinstance(failure, Failure):
            traceback.print_exc()
            why = f"{type(failure).__name__}: {why}"
        verdict = f"FAIL {name}: {(why.splitlines() or ['?'])[0]}"
        if "\n" in why:
            print(why, file=sys.stderr)
    finally:
        signal.alarm(0)
        stage.close(report=not good)
    if verdict.startswith("ok"):
        verdict += f" ({time.monotonic() - start:.1f} s)"
    print(verdict, flush=True)
    return good


def main(names):
    """Run the functions test_* of a module (its globals()), all or those named as arguments."""
    tests = {n: f for n, f in names.items() if n.startswith("test_") and callable(f)}
    wanted = sys.argv[1:]
    if wanted == ["--list"]:
        for name, test in tests.items():
            print(f"{name}: {(test.__doc__ or '').strip().splitlines()[0] if test.__doc__ else ''}")
        sys.exit(0)
    unknown = [n for n in wanted if n not in tests]
    if unknown:
        print(f"no such test: {' '.join(unknown)}; --list shows them", file=sys.stderr)
        sys.exit(64)
    for signo in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signo, _interrupted)
    signal.signal(signal.SIGALRM, _too_long)
    try:
        good = [_run(n, tests[n]) for n in (wanted or tests)]
    except KeyboardInterrupt as interrupt:
        print(f"interrupted {interrupt}", file=sys.stderr)
        sys.exit(130)
    sys.exit(0 if all(good) else 1)
