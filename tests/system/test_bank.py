#!/usr/bin/env python3
"""The sample application: whatever it was told to be, what it acknowledges has happened."""

import json
import os
import pathlib
import signal
import time

import lib
from lib import check, check_equal

BANK = pathlib.Path(os.environ.get("FULMAR_BUILD", pathlib.Path(lib.FULMAR).parent)) / "examples/bank/bank"


class Bank:
    """A store, a card network and one instance."""

    def __init__(self, stage):
        store, network, self.port, self.admin = (lib.free_port() for _ in range(4))
        for name, argv, port in [
                ("store", ["store", store, stage.path("bank.db")], store),
                ("network", ["network", network], network),
                ("app", ["app", self.port, self.admin, store, network, "app-1"], self.port)]:
            setattr(self, name, stage.start_until(name, [BANK, *argv], port))
        self.store_port = store

    def ask(self, method, path, headers=()):
        """The answer of the instance, which hangs up on everybody after a stall: it is asked again, once for each."""
        tries = 0
        while True:
            try:
                return lib.request(self.port, method, path, headers, b"" if method == "POST" else None)
            except (OSError, lib.Failure):
                if tries >= self.app.output().count('"event":"frozen"'):
                    raise
                tries += 1

    def mode(self, name):
        check_equal(lib.get(self.admin, f"/mode/{name}").status, 200, f"mode {name}")

    def debit(self, account, key, amount=5, **deadline):
        headers = [("Idempotency-Key", key)] + [("Fulmar-Deadline", v) for v in deadline.values()]
        return self.ask("POST", f"/ledger/{account}/debit?amount={amount}", headers)

    def command(self, path, key, **headers):
        fields = [("Idempotency-Key", key)] + [(f"Fulmar-{k.title()}", v) for k, v in headers.items()]
        return self.ask("POST", path, fields)

    def noted(self):
        """What became of commands, as the instance has written it down: (outcome, key, cell, epoch)."""
        lines = [json.loads(line) for line in self.app.output().splitlines() if line.startswith("{")]
        return [(x["outcome"], x["key"], x["cell"], x["epoch"]) for x in lines if x["event"] == "command"]

    def balance(self, account):
        return self.ask("GET", f"/ledger/{account}").json()["balance"]


def test_a_slow_instance_does_what_it_says(stage):
    """Commands that it acknowledges took effect, and reads are those that were asked for."""
    bank = Bank(stage)
    bank.mode("slow")
    answer = bank.debit("me", "k-1")
    check_equal((answer.status, answer.json()["balance"]), (200, 999995), "debit")
    check_equal(bank.debit("me", "k-1").body, answer.body, "the same again")
    check_equal((bank.balance("me"), bank.balance("you")), (999995, 1000000), "balances")
    check("savings" in bank.ask("GET", "/catalog").json()["catalog"], "the catalog")
    bank.mode("ok")
    check_equal(bank.balance("me"), 999995, "balance of a fast one")


def test_a_slow_instance_drops_what_is_too_late_by_then(stage):
    """A deadline that passes while it is slow is obeyed."""
    bank = Bank(stage)
    bank.mode("slow")
    check_equal(bank.debit("me", "k-1", ms="20").status, 504, "status")
    bank.mode("ok")
    check_equal(bank.balance("me"), 1000000, "balance")
    check_equal(bank.debit("me", "k-1", ms="5000").json()["balance"], 999995, "in time")


def test_an_older_epoch_changes_nothing(stage):
    """The epoch of a cell is compared with a row in the transaction of the effect, and only grows."""
    bank = Bank(stage)
    debit = "/ledger/me/debit?amount=5"
    check_equal(bank.command(debit, "k-1", authority="ledger/0@7").status, 200, "the first")
    check_equal(bank.command(debit, "k-2", authority="ledger/0@7").status, 200, "the same epoch")
    check_equal(bank.command(debit, "k-3", authority="ledger/0@9").status, 200, "a newer one")
    late = bank.command(debit, "k-4", authority="ledger/0@8")
    check_equal(late.status, 409, "an older one")
    check("another region" in late.json()["error"], late.body)
    check_equal(bank.command(debit, "k-1", authority="ledger/0@7").status, 409, "a repeat under an older one")
    check_equal(bank.command(debit, "k-1", authority="ledger/0@10").status, 200, "a repeat under a newer one")
    check_equal(bank.ask("GET", "/cards/c").json(), {"card": "c", "frozen": False}, "a card")
    check_equal(bank.command("/cards/c/freeze", "k-5", authority="cards/3@2").status, 200, "another cell")
    check_equal(bank.ask("GET", "/cards/c").json(), {"card": "c", "frozen": True}, "the card")
    check_equal(bank.balance("me"), 1000000 - 15, "balance")
    check_equal(lib.get(bank.store_port, "/epochs").body, b"cards/3 2\nledger/0 10\n", "epochs")
    check_equal(bank.noted()[4:8], [("accepted", "k-3", "ledger/0", 9), ("applied", "k-3", "ledger/0", 9),
                                    ("accepted", "k-4", "ledger/0", 8), ("older-epoch", "k-4", "ledger/0", 8)],
                "the log")


def test_without_authority_it_is_as_before(stage):
    """A context that every region may write has no epochs; a header that is broken is refused."""
    bank = Bank(stage)
    check_equal(bank.command("/ledger/me/debit", "k-1").status, 200, "without")
    check_equal(lib.get(bank.store_port, "/epochs").body, b"", "epochs")
    for broken in ("ledger", "ledger/0", "ledger@1", "@1", "ledger/0@", "ledger/0@x", "ledger/0@1@2", "x" * 300):
        check_equal(bank.command("/ledger/me/debit", "k-2", authority=broken).status, 400, broken)
    check_equal(bank.balance("me"), 999999, "balance")


def test_read_only(stage):
    """In a region that may only read answers say so, and nothing is changed."""
    bank = Bank(stage)
    check_equal(bank.command("/ledger/me/debit", "k-1", mode="read-only").status, 503, "a command")
    got = bank.ask("GET", "/ledger/me", [("Fulmar-Mode", "read-only")])
    check_equal((got.status, got.json()), (200, {"account": "me", "balance": 1000000, "read_only": True}), "a query")
    got = bank.ask("GET", "/ledger/me", [("Fulmar-Mode", "normal")])
    check_equal(got.json(), {"account": "me", "balance": 1000000}, "elsewhere")
    check_equal(bank.noted(), [("read-only", "k-1", "", 0)], "the log")


def test_an_instance_that_was_frozen_drops_what_waited(stage):
    """After a stall it closes its connections before it reads what waited in them."""
    bank = Bank(stage)
    text = (b"POST /ledger/me/debit HTTP/1.1\r\nHost: bank\r\nIdempotency-Key: late\r\n"
            b"Fulmar-Authority: ledger/0@1\r\nContent-Length: 0\r\n\r\n")
    with lib.Client(bank.port) as client:
        client.send(b"GET /catalog HTTP/1.1\r\nHost: bank\r\n\r\n")
        check_equal(client.response().status, 200, "before")
        bank.app.signal(signal.SIGSTOP)
        client.send(text)
        time.sleep(0.4)
        bank.app.signal(signal.SIGCONT)
        try:
            check(client.is_over(), "it has read what waited")
        except ConnectionResetError:
            pass  # unread bytes make a reset of it
    check_equal((bank.balance("me"), bank.noted()), (1000000, []), "balance and log")
    check("frozen" in bank.app.output(), bank.app.output())


if __name__ == "__main__":
    lib.main(globals())
