#!/usr/bin/env python3
"""The sample application: whatever it was told to be, what it acknowledges has happened."""

import os
import pathlib

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
            stage.start_until(name, [BANK, *argv], port)

    def mode(self, name):
        check_equal(lib.get(self.admin, f"/mode/{name}").status, 200, f"mode {name}")

    def debit(self, account, key, amount=5, **deadline):
        headers = [("Idempotency-Key", key)] + [("Fulmar-Deadline", v) for v in deadline.values()]
        return lib.request(self.port, "POST", f"/ledger/{account}/debit?amount={amount}", headers,
                           b"")

    def balance(self, account):
        return lib.get(self.port, f"/ledger/{account}").json()["balance"]


def test_a_slow_instance_does_what_it_says(stage):
    """Commands that it acknowledges took effect, and reads are those that were asked for."""
    bank = Bank(stage)
    bank.mode("slow")
    answer = bank.debit("me", "k-1")
    check_equal((answer.status, answer.json()["balance"]), (200, 999995), "debit")
    check_equal(bank.debit("me", "k-1").body, answer.body, "the same again")
    check_equal((bank.balance("me"), bank.balance("you")), (999995, 1000000), "balances")
    check("savings" in lib.get(bank.port, "/catalog").json()["catalog"], "the catalog")
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


if __name__ == "__main__":
    lib.main(globals())
