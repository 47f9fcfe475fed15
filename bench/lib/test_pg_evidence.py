"""The figures of the PostgreSQL failover bench from small made-up logs."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

from .pg_evidence import Figures, Log, Moments, Write, figures
from .procs import BenchError

MS = 1_000_000
AT = Moments(1000 * MS, 5000 * MS, 6000 * MS)


def ack(door: str, number: int, sent_ms: int, done_ms: int | None = None) -> Write:
    return Write(door, number, sent_ms * MS, (sent_ms + 1 if done_ms is None else done_ms) * MS)


def judge(*acks: Write, present: set[int] | None = None, unknown: set[int] | None = None) -> Figures:
    log = Log(Path("unused"), list(acks), unknown or set())
    return figures(log, {a.id for a in acks} if present is None else present, "west", AT)


class Gaps(unittest.TestCase):
    def test_a_gap_begins_at_the_last_write_before_the_fault(self) -> None:
        f = judge(ack("west", 1, 500), ack("west", 2, 899), ack("north", 3, 2399), ack("north", 4, 4999))
        self.assertEqual((f.gap_s, f.calm_gap_s), (2.6, 0.399))
        self.assertTrue(f.back and f.moved)

    def test_one_that_does_not_end_lasts_until_the_repair(self) -> None:
        f = judge(ack("west", 1, 999), ack("west", 2, 5499))
        self.assertEqual((f.gap_s, f.back, f.rejoin_gap_s), (4.0, False, 0.5))

    def test_without_writes_before_the_fault_nothing_is_said(self) -> None:
        with self.assertRaises(BenchError):
            judge(ack("north", 1, 2000))


class Losses(unittest.TestCase):
    def test_lost_is_acknowledged_and_not_there(self) -> None:
        f = judge(ack("west", 1, 500), ack("west", 2, 600), ack("north", 3, 2000), present={1, 3})
        self.assertEqual(f.lost, 1)

    def test_unknown_ones_may_be_there_or_not(self) -> None:
        f = judge(ack("west", 1, 500), present={1, 7}, unknown={7, 8})
        self.assertEqual((f.lost, f.unknown, f.recovered_unknown), (0, 2, 1))


class TwoPrimaries(unittest.TestCase):
    def test_double_is_sent_after_another_one_acknowledged(self) -> None:
        f = judge(ack("west", 1, 500), ack("north", 2, 2000), ack("west", 3, 2002), ack("west", 4, 1500, 2100))
        self.assertEqual((f.double, f.late), (1, 1))

    def test_one_primary_after_the_other_is_none(self) -> None:
        f = judge(ack("west", 1, 500), ack("west", 2, 1200), ack("north", 3, 2000))
        self.assertEqual((f.double, f.late), (0, 0))


class Files(unittest.TestCase):
    def test_a_log_is_read_on_where_it_ended(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "log"
            path.write_text("ack west 1 10 20\nunknown north 2 30 4")
            log = Log(path)
            log.read()
            self.assertEqual((log.acknowledged, log.unknown), ([Write("west", 1, 10, 20)], set()))
            with open(path, "a", encoding="ascii") as f:
                f.write("0\nack west 3 50 60\n")
            log.read()
        self.assertEqual(([a.id for a in log.acknowledged], log.unknown), ([1, 3], {2}))


if __name__ == "__main__":
    unittest.main()
