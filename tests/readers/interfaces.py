"""Adds up a folder of whyflow's Parquet files by interface, with pyarrow alone.

Prints one JSON object: {"NETNS NAME": {"packets_in": .., "bytes_in": .., ...}}, where `in` is what
went to the pod and `out` what came from it. Rows whose counters are not an interface's (`seen`
other than `interface`) and rows that came twice (the same `id`) are left out.
"""

import glob
import json
import sys
from collections import defaultdict

import pyarrow.parquet as pq

COUNTERS = ["packets_in", "packets_out", "bytes_in", "bytes_out"]
COLUMNS = ["id", "seen", "interface_netns", "interface_name", *COUNTERS]

seen_ids = set()
sums = defaultdict(lambda: dict.fromkeys(COUNTERS, 0))
for path in sorted(glob.glob(f"{sys.argv[1]}/**/*.parquet", recursive=True)):
    for row in pq.ParquetFile(path).read(columns=COLUMNS).to_pylist():
        if row["seen"] != "interface" or row["id"] in seen_ids:
            continue
        seen_ids.add(row["id"])
        of_interface = sums[f"{row['interface_netns']} {row['interface_name']}"]
        for counter in COUNTERS:
            of_interface[counter] += row[counter]
json.dump(sums, sys.stdout)
