"""Compares a folder of whyflow's Parquet files with JSON lines of the same flows, row by row and
column by column, once as pyarrow reads it and once as DuckDB does.

    rows.py FOLDER LINES

Prints {"pyarrow": rows, "duckdb": rows}; the first differences go to standard error and make it fail.
"""

import glob
import json
import sys
from datetime import datetime, timezone

import duckdb
import pyarrow.parquet as pq

FLAGS = {
    "fin": 0x01, "syn": 0x02, "rst": 0x04, "psh": 0x08, "ack": 0x10, "urg": 0x20, "ece": 0x40,
    "cwr": 0x80, "syn_only": 0x100, "syn_ack": 0x200,
}
TIMES = ["window_start", "window_end", "first_seen", "last_seen"]


def millis(text):
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def end(prefix, endpoint):
    """One end of a flow: the columns `source_…` or `destination_…`."""
    owner = endpoint.get("owner", {})
    columns = {name: endpoint.get(name) for name in [
        "kind", "namespace", "name", "aggregated_name", "service_account", "node", "zone"]}
    columns |= {name: endpoint.get(name, {}) for name in [
        "labels", "namespace_labels", "service_account_labels"]}
    columns |= {
        "owner_kind": owner.get("kind"),
        "owner_name": owner.get("name"),
        "host_network": endpoint.get("host_network", False),
        "addresses": endpoint.get("addresses", []),
        "declared_ports": [
            {"name": port["name"] or None, "protocol": port["protocol"], "port": port["port"]}
            for port in endpoint.get("declared_ports", [])
        ],
    }
    return {f"{prefix}_{name}": value for name, value in columns.items()}


def hit(found):
    trigger = found.get("trigger", {})
    names = ["kind", "tier", "namespace", "name", "action", "policy_index", "rule_index",
             "calico_rule_index"]
    parts = ["kind", "tier", "namespace", "name"]
    return {name: found.get(name) for name in names} | {
        f"trigger_{part}": trigger.get(part) or None for part in parts}


def near_miss(miss):
    policy = miss["policy"]
    parts = ["kind", "tier", "namespace", "name"]
    return {part: policy[part] or None for part in parts} | {
        "rule_index": miss["rule"]["index"],
        "calico_rule_index": miss["rule"]["calico_index"],
        "failed": [{name: term[name] or None for name in ["field", "wanted", "found"]}
                   for term in miss["failed"]],
    }


def policies(row):
    known = row.get("policies")
    decided = row.get("decided_by", {})
    rule = decided.get("rule") or {}
    columns = {
        "pending_action": known and known["pending_action"],
        "as_read": known and known["as_read"],
        "policies_enforced": known and [hit(found) for found in known["enforced"]],
        "policies_pending": known and [hit(found) for found in known["pending"]],
        "decided_by_rule": rule.get("index"),
        "decided_by_calico_rule": rule.get("calico_index"),
    }
    parts = ["kind", "tier", "namespace", "name"]
    # What decided always has a namespace column, empty for what has none.
    return columns | {f"decided_by_{part}": decided.get(part, "" if decided else None)
                      for part in parts}


def columns_of(row):
    """The columns that a row of JSON must have, by the tables of docs/parquet.md."""
    lane, interface = row.get("lane", {}), row.get("interface", {})
    service, evidence, rtt = row.get("service", {}), row["evidence"], row.get("rtt", {})
    columns = {name: row.get(name) for name in [
        "id", "cluster", "reporter", "origin", "seen", "action", "outcome", "disagreement",
        "protocol", "policy_revision", "initiator_from", "since", "sentence", "retransmissions",
        "dns_name", "community_id"]}
    columns |= {name: millis(row[name]) for name in TIMES}
    columns |= {name: lane.get(name) for name in ["node", "boot_id", "incarnation"]}
    columns |= {f"interface_{name}": interface.get(name) for name in ["node", "netns", "name"]}
    columns |= {f"service_{name}": service.get(name) or None
                for name in ["namespace", "name", "port_name", "port"]}
    columns |= row["counters"]
    columns |= {name: evidence[name] for name in ["delivered", "answered", "refused"]}
    columns |= {f"rtt_{name}": rtt.get(name) for name in ["min_us", "mean_us", "max_us"]}
    for name in ["tuple", "translated"]:
        for part in ["source_address", "source_port", "destination_address", "destination_port"]:
            columns[f"{name}_{part}"] = row.get(name, {}).get(part)
    columns |= {
        "correction": row.get("correction", 0),
        "destination_port": row["destination"].get("port"),
        "icmp_type": row.get("icmp", {}).get("type"),
        "icmp_code": row.get("icmp", {}).get("code"),
        "tcp_flags": sum(FLAGS[name] for name in row.get("tcp_flags", [])),
        "far_not_visible": evidence.get("far_not_visible", False),
        "dropped": evidence.get("dropped", []),
        "near_misses": [near_miss(miss) for miss in row.get("near_misses", [])],
    }
    return (columns | policies(row) | end("source", row["source"])
            | end("destination", row["destination"]))


def by_pyarrow(folder):
    for path in files(folder):
        file = pq.ParquetFile(path)
        assert file.schema_arrow.metadata[b"whyflow.schema"] == b"flow/1", path
        for row in file.read().to_pylist():
            for name, value in row.items():
                if name.endswith("labels"):
                    row[name] = dict(value)
            for name in TIMES:
                assert row[name].tzinfo is not None, name
                row[name] = round(row[name].timestamp() * 1_000_000) // 1000
            yield row


def by_duckdb(folder):
    times = ", ".join(f"epoch_us({name}) AS {name}" for name in TIMES)
    query = duckdb.sql(
        f"SELECT * REPLACE ({times}) FROM read_parquet('{folder}/*/*/*.parquet', "
        "hive_partitioning = true, hive_types_autocast = false)")
    for values in query.fetchall():
        row = dict(zip(query.columns, values))
        start = datetime.fromtimestamp(row["window_start"] / 1_000_000, timezone.utc)
        assert (str(row.pop("date")), row.pop("hour")) == (f"{start:%Y-%m-%d}", f"{start:%H}")
        for name in TIMES:
            row[name] //= 1000
        yield row


def files(folder):
    return sorted(glob.glob(f"{folder}/*/*/*.parquet"))


def compare(reader, rows, expected):
    differences, seen = [], set()
    for row in rows:
        number = row["id"]
        if number in seen:
            differences.append(f"row {number} is there twice")
        seen.add(number)
        wanted = expected.get(number, {})
        for name in sorted(row.keys() | wanted.keys()):
            if name not in row or name not in wanted or row[name] != wanted[name]:
                found, said = row.get(name, "no column"), wanted.get(name, "not expected")
                differences.append(f"row {number}, {name}: {found!r}, expected {said!r}")
    differences += [f"row {number} is missing" for number in expected.keys() - seen]
    if differences:
        sys.exit(f"{reader}: {len(differences)} differences\n" + "\n".join(differences[:20]))
    return len(seen)


def main():
    folder, lines = sys.argv[1:]
    with open(lines, encoding="utf-8") as file:
        expected = {row["id"]: columns_of(row) for row in map(json.loads, file)}
    json.dump({
        "pyarrow": compare("pyarrow", by_pyarrow(folder), expected),
        "duckdb": compare("duckdb", by_duckdb(folder), expected),
    }, sys.stdout)


if __name__ == "__main__":
    main()
