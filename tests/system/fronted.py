"""Two regions and a witness with one context, and an edge in front of them. The application is the test that uses it."""

import json
import subprocess

import lib
from lib import check_equal, wait_until
from test_authority import PATIENCE_S, Realm


class Fronted(Realm):
    def __init__(self, stage, context, tls=False, failover=None):
        super().__init__(stage, contexts={"ledger": context}, failover={"mode": "manual", **(failover or {})})
        self.port, self.edge_admin, self.tls = lib.free_port(), lib.free_port(), tls
        conf = json.loads(self.conf.read_text())
        conf["edge"] = {"workers": 1, "listen": [{"address": f"127.0.0.1:{self.port}"}],
                        "admin": f"127.0.0.1:{self.edge_admin}"}
        conf["hosts"]["front"] = {"region": "north", "roles": ["edge"], "address": "127.0.0.1",
                                  "admin": f"127.0.0.1:{self.edge_admin}"}
        conf["probe"] = {"interval": "200ms", "fast-interval": "50ms"}
        if tls:
            conf["peer-tls"] = {"ca": "peers-ca.pem", "cert": "{host}.pem", "key": "{host}.key"}
        self.conf.write_text(json.dumps(conf))
        for what in ("init", "add") if tls else ():
            self.command("certs", what)
        self.edge_conf = self.conf  # what the edge goes by

    def command(self, *argv):
        done = subprocess.run([lib.FULMAR, *argv, "-c", self.conf], capture_output=True, text=True, timeout=60,
                              check=False)
        check_equal(done.returncode, 0, f"exit code of fulmar {' '.join(argv)}: {done.stderr}")
        return done.stdout

    def post(self, path, body, key=None, **options):
        """The answer to a command; one with a key may be repeated."""
        headers = [("Idempotency-Key", key)] if key else []

        def once():
            return lib.request(self.port, "POST", path, headers, body.encode(), **{"timeout": 60, **options})
        return self.answer_to(once) if key else once()

    def start_edge(self, path):
        """Until a command to that path is executed."""
        self.edge = self.stage.fulmar("front", "edge", "-c", self.edge_conf, "--host", "front", port=self.edge_admin)
        wait_until("commands are taken", lambda: self.post(path, "probe").status == 201, PATIENCE_S, every=0.1)
