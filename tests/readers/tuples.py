"""Adds up a folder of whyflow's Parquet files of detail `connection` by 5-tuple, with pyarrow alone.

Prints a JSON list of {reporter, protocol, source, destination, translated, packets_in, ...}; source,
destination and translated are `ADDRESS PORT`, translated that of the destination after NAT. Rows
whose counters are not an interface's (`seen` other than `interface`) and rows that came twice (the
same `id`) are left out.
"""

import glob
import json
import sys
from collections import defaultdict

import pyarrow.parquet as pq

COUNTERS = ["packets_in", "packets_out", "bytes_in", "bytes_out", "connections_started"]
ENDS = [
    "tuple_source_address",
    "tuple_source_port",
    "tuple_destination_address",
    "tuple_destination_port",
    "translated_destination_address",
    "translated_destination_port",
]
COLUMNS = ["id", "seen", "reporter", "protocol", *ENDS, *COUNTERS]


def end(address, port):
    return None if address is None else f"{address} {port}"


seen_ids = set()
sums = defaultdict(lambda: dict.fromkeys(COUNTERS, 0))
for path in sorted(glob.glob(f"{sys.argv[1]}/**/*.parquet", recursive=True)):
    for row in pq.ParquetFile(path).read(columns=COLUMNS).to_pylist():
        if row["seen"] != "interface" or row["id"] in seen_ids:
            continue
        seen_ids.add(row["id"])
        ends = [row[name] for name in ENDS]
        key = (row["reporter"], row["protocol"], end(*ends[:2]), end(*ends[2:4]), end(*ends[4:]))
        for counter in COUNTERS:
            sums[key][counter] += row[counter]

NAMES = ["reporter", "protocol", "source", "destination", "translated"]
json.dump([dict(zip(NAMES, key)) | counters for key, counters in sums.items()], sys.stdout)
