"""Runs every SQL query of a page of documentation with DuckDB over a folder of whyflow's Parquet
files, which the page calls `flows`.

    queries.py PAGE FOLDER

Prints a JSON list of [the query's first words, how many rows it gave].
"""

import json
import re
import sys

import duckdb

page, folder = sys.argv[1:]
with open(page, encoding="utf-8") as file:
    blocks = re.findall(r"```sql\n(.*?)```", file.read(), re.DOTALL)
answers = []
for query in ";".join(blocks).split(";"):
    lines = [line for line in query.splitlines() if line and not line.startswith("--")]
    if lines:
        rows = duckdb.sql("\n".join(lines).replace("flows/", f"{folder}/")).fetchall()
        answers.append([lines[0], len(rows)])
json.dump(answers, sys.stdout)
