"""Writes the table of a Parquet file again and again, as pyarrow does it with the settings of whyflow's
exporter, into memory. Prints CPU seconds and bytes as JSON.

    parquet.py FILE ROUNDS ROW_GROUP_ROWS ZSTD_LEVEL
"""

import json
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq

path, rounds, row_group_rows, level = sys.argv[1], *map(int, sys.argv[2:])
pa.set_cpu_count(1)
table = pq.read_table(path, use_threads=False, partitioning=None).combine_chunks()
dictionary = [name for name in table.column_names if name != "id"]


def write():
    out = pa.BufferOutputStream()
    pq.write_table(
        table, out, compression="zstd", compression_level=level, use_dictionary=dictionary,
        row_group_size=row_group_rows, write_statistics=True, write_page_index=True)
    return out.getvalue().size


write()
start = time.process_time()
sizes = [write() for _ in range(rounds)]
seconds = time.process_time() - start
json.dump({"rows": table.num_rows, "columns": table.num_columns, "seconds": seconds, "bytes": sizes[-1],
           "version": pa.__version__}, sys.stdout)
