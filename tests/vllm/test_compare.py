#!/usr/bin/env python3
"""The comparison finds what it is there to find. Run with: python3 -m unittest tests/vllm/test_compare.py"""

import json
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from compare import BadInput, byte_errors, differences, groups_of_report, groups_of_simulator, paper_errors

# Two processes, two groups over both of them, and one group of process 11 with process 12.
CALLS = [
    # comm, pid, rank, ranks, op, elements, dtype, peer, count
    ("a", 11, 0, 2, "AllReduce", 4096, "bfloat16", -1, 3),
    ("a", 12, 1, 2, "AllReduce", 4096, "bfloat16", -1, 3),
    ("b", 11, 0, 2, "Broadcast", 9, "int32", 0, 2),
    ("b", 12, 1, 2, "Broadcast", 9, "int32", 0, 2),
    ("b", 11, 0, 2, "Recv", 64128, "bfloat16", 1, 1),
    ("b", 12, 1, 2, "Send", 64128, "bfloat16", 0, 1),
]


def simulator_logs(folder: Path) -> None:
    for comm, pid, rank, ranks, op, elements, dtype, peer, count in CALLS:
        event = {"op": op, "comm": comm, "rank": rank, "nranks": ranks, "count": elements, "dtype": dtype, "peer": peer}
        with (folder / f"{pid}.jsonl").open("a") as log:
            log.write((json.dumps(event) + "\n") * count)
            log.write('{"op": "CommDestroy", "comm": "a", "rank": 0}\n')


def report_rows() -> list[dict]:
    names = {"a": "00c0ffee", "b": "00decade"}
    size = {"bfloat16": 2, "int32": 4}
    return [
        {
            "pid": pid, "rank": rank, "group": names[comm], "op": op, "dtype": dtype, "elements": elements,
            "peer": None if peer == -1 else peer, "ranks_in_group": ranks, "count": count,
            "message_bytes": elements * size[dtype] * count, "bus_bytes": elements * size[dtype] * count,
        }
        for comm, pid, rank, ranks, op, elements, dtype, peer, count in CALLS
    ]  # fmt: skip


class Comparison(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        simulator_logs(self.folder)
        self.simulated = groups_of_simulator(self.folder)
        self.rows = report_rows()

    def found(self):
        return differences(self.simulated, groups_of_report(self.rows))

    def test_equal_runs_are_equal_whatever_the_groups_are_called(self):
        self.assertEqual(self.found(), [])

    def test_a_row_that_is_split_in_two_is_still_equal(self):
        self.rows.append(dict(self.rows[0], count=1))
        self.rows[0]["count"] -= 1
        self.assertEqual(self.found(), [])

    def test_a_missing_call_is_found(self):
        self.rows[0]["count"] -= 1
        self.assertIn("process 11: AllReduce of 4096 bfloat16: made 3, reported 2", self.found())

    def test_a_missing_process_is_found(self):
        self.rows = [row for row in self.rows if row["pid"] != 12]
        self.assertIn("process 12: AllReduce of 4096 bfloat16: made 3, reported 0", self.found())

    def test_a_doubled_call_is_found(self):
        self.rows[2]["count"] *= 2
        self.assertIn("process 11: Broadcast of 9 int32 with peer 0: made 2, reported 4", self.found())

    def test_a_call_that_was_never_made_is_found(self):
        self.rows.append(dict(self.rows[0], op="Reduce"))
        self.assertIn("process 11: Reduce of 4096 bfloat16: made 0, reported 3", self.found())

    def test_a_swapped_communicator_is_found(self):
        for row in self.rows[0], self.rows[2]:
            row["group"] = "00decade" if row["group"] == "00c0ffee" else "00c0ffee"
        self.assertIn("not in these groups", self.found()[0])

    def test_two_groups_merged_into_one_are_found(self):
        for row in self.rows:
            row["group"] = "00c0ffee"
        self.assertIn("not in these groups", self.found()[0])

    def test_a_group_torn_apart_between_its_processes_is_found(self):
        for row in self.rows:
            row["group"] += str(row["pid"])
        self.assertIn("not in these groups", self.found()[0])

    def test_another_peer_is_found(self):
        self.rows[5]["peer"] = 1
        self.assertEqual(len([line for line in self.found() if line.startswith("process 12: Send")]), 2)

    def test_another_type_is_found(self):
        self.rows[1]["dtype"] = "float16"
        self.assertIn("process 12: AllReduce of 4096 float16: made 0, reported 3", self.found())

    def test_another_rank_is_found(self):
        self.rows[0]["rank"] = 1
        self.assertIn("not in these groups", self.found()[0])

    def test_wrong_bytes_are_found(self):
        self.assertEqual(byte_errors(self.rows), [])
        self.rows[0]["message_bytes"] += 1
        self.rows[1]["bus_bytes"] *= 2
        self.assertEqual(len(byte_errors(self.rows)), 2)

    def test_a_row_without_a_group_is_refused(self):
        self.rows[0]["group"] = None
        with self.assertRaises(BadInput):
            self.found()

    def test_a_torn_log_is_refused(self):
        with (self.folder / "11.jsonl").open("a") as log:
            log.write('{"op": "AllRed')
        with self.assertRaises(BadInput):
            groups_of_simulator(self.folder)

    def test_an_empty_folder_is_refused(self):
        with tempfile.TemporaryDirectory() as folder, self.assertRaises(BadInput):
            groups_of_simulator(Path(folder))

    def test_counts_that_are_not_the_papers_are_found(self):
        found = paper_errors("TP=2", groups_of_report(self.rows))
        self.assertIn("Table III, decode AllReduce: reported [3, 3] per process, the paper has [8255, 8255]", found)


if __name__ == "__main__":
    unittest.main()
