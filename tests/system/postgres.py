"""PostgreSQL for system tests: servers in the stage's folder, run as `postgres` where the test is root, since
PostgreSQL refuses to run as root."""

import os
import pathlib
import shutil
import subprocess

import lib
from lib import check, wait_until

BIN = pathlib.Path("/usr/lib/postgresql")


def bin_dir():
    versions = sorted((p for p in BIN.glob("*/bin") if (p / "postgres").exists()),
                      key=lambda p: int(p.parent.name))
    if not versions:
        raise lib.Skip("PostgreSQL is not installed")
    return versions[-1]


def as_postgres(argv):
    argv = [str(a) for a in argv]
    return ["runuser", "-u", "postgres", "--", *argv] if os.geteuid() == 0 else argv


def run(argv, **options):
    p = subprocess.run(as_postgres(argv), capture_output=True, text=True, timeout=120, cwd="/", **options)
    check(p.returncode == 0, f"{argv}: {p.stdout}{p.stderr}")
    return p.stdout


class Server:
    """One server; clients of the loopback are trusted."""

    def __init__(self, stage, name, options=()):
        self.stage, self.name, self.bin = stage, name, bin_dir()
        self.port = lib.free_port()
        self.folder = stage.path(name)
        self.folder.mkdir()
        stage.dir.chmod(0o755)
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        self.data = self.folder / "data"
        self.options = [f"port={self.port}", "listen_addresses=127.0.0.1", "fsync=off",
                        f"unix_socket_directories={self.folder}", *options]
        self.process = None

    def make(self):
        run([self.bin / "initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8"])
        return self

    def copy_of(self, primary):
        """A standby of it."""
        run([self.bin / "pg_basebackup", "-D", self.data, "-h", "127.0.0.1", "-p", primary.port, "-U", "postgres",
             "-R", "-X", "stream", "--checkpoint=fast", "--no-sync"])
        return self

    def with_tls(self, cert, key):
        """Serve TLS with this certificate."""
        for source, name in ((cert, "server.crt"), (key, "server.key")):
            target = self.data / name
            shutil.copy(source, target)
            target.chmod(0o600)
            if os.geteuid() == 0:
                shutil.chown(target, "postgres", "postgres")
        self.options.append("ssl=on")
        return self

    def start(self):
        argv = [self.bin / "postgres", "-D", self.data]
        for option in self.options:
            argv += ["-c", option]
        self.process = self.stage.start(f"{self.name}-{len(self.stage.processes)}", as_postgres(argv), cwd="/")
        wait_until(f"{self.name} takes connections", self.is_ready, 30, 0.05)
        return self

    def is_ready(self):
        check(self.process.is_alive(), f"{self.name} has ended; its output is below")
        return subprocess.run([self.bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)],
                              timeout=30).returncode == 0

    def stop(self):
        run([self.bin / "pg_ctl", "-D", self.data, "-m", "fast", "-w", "stop"])
        self.process.wait(30)

    def promote(self):
        run([self.bin / "pg_ctl", "-D", self.data, "-w", "promote"])

    def sql(self, text):
        return run([self.bin / "psql", "-XAtq", "-h", "127.0.0.1", "-p", self.port, "-U", "postgres", "-c", text]).strip()
