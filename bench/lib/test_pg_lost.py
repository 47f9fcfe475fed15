"""What was lost, from made-up logs."""

from __future__ import annotations

import unittest

from .pg_evidence import Write
from .pg_lost import Found, commits, judge, lsn, rows_of

DUMP = """\
rmgr: Heap        len (rec/tot):     59/    59, tx:        740, lsn: 0/0301A000, prev 0/03019FC8, desc: INSERT off 3 flags 0x00
rmgr: Transaction len (rec/tot):     46/    46, tx:        740, lsn: 0/0301A040, prev 0/0301A000, desc: COMMIT 2026-11-22 10:00:00.0 UTC
rmgr: Transaction len (rec/tot):     34/    34, tx:        741, lsn: 0/0301A070, prev 0/0301A040, desc: ABORT 2026-11-22 10:00:00.1 UTC
rmgr: Transaction len (rec/tot):     46/    46, tx:        742, lsn: 0/0301A098, prev 0/0301A070, desc: COMMIT 2026-11-22 10:00:00.2 UTC
"""


def ack(number: int, tx: int) -> Write:
    return Write("west", number, 0, 1, str(tx))


def found(*rows: int, counted: int = 2, known: str = "all") -> Found:
    return Found("0/301A000", commits(DUMP), counted, known, set(rows))


class Lost(unittest.TestCase):
    def test_commits_end_behind_their_record(self) -> None:
        self.assertEqual(commits(DUMP), {740: lsn("0/301A070"), 742: lsn("0/301A0C8")})

    def test_rows_are_the_writes_alone(self) -> None:
        change = {"relation": "public.bench_writes", "op": "insert", "new": {"id": "7"}}
        other = {"relation": "public.t", "op": "insert", "new": {"id": "8"}}
        self.assertEqual(rows_of([{"changes": [change, other]}, {"changes": [{"text": "?"}]}]), {7})
        self.assertEqual(rows_of(None), set())

    def test_what_is_lost_is_measured_from_the_fork(self) -> None:
        got = judge([ack(1, 739), ack(2, 740)], {3}, {1}, found(2, 3))
        self.assertEqual((got.lost, got.size, got.recovered, got.wrong), (1, 0x70, 2, []))

    def test_nothing_lost_is_nothing(self) -> None:
        got = judge([ack(1, 739)], set(), {1}, Found())
        self.assertEqual((got.lost, got.size, got.wrong), (0, 0, []))

    def test_a_lost_one_has_to_be_recovered(self) -> None:
        self.assertEqual(len(judge([ack(1, 740)], {3}, set(), found(3)).wrong), 1)
        self.assertEqual(len(judge([ack(1, 738)], {3}, set(), found(1, 3)).wrong), 1)

    def test_what_is_there_is_not_recovered(self) -> None:
        self.assertEqual(len(judge([ack(1, 740), ack(2, 742)], {2}, {2}, found(1, 2)).wrong), 1)

    def test_nothing_is_recovered_that_nobody_tried(self) -> None:
        self.assertEqual(len(judge([ack(1, 740)], set(), set(), found(1, 9)).wrong), 1)

    def test_the_item_counts_what_the_log_has(self) -> None:
        self.assertEqual(len(judge([ack(1, 740)], {3}, set(), found(1, 3, counted=1)).wrong), 1)

    def test_rows_that_are_not_known_are_no_recovery(self) -> None:
        self.assertEqual(len(judge([ack(1, 740)], {3}, set(), found(1, 3, known="some")).wrong), 1)


if __name__ == "__main__":
    unittest.main()
