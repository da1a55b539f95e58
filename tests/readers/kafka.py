"""An independent client of Kafka for tests: makes topics, and compares what is in one with JSON lines of
the flows that should be there, row by row.

    kafka.py BROKERS topic NAME PARTITIONS [SETTING=VALUE ...]
    kafka.py BROKERS deny|allow TOPIC USER
    kafka.py BROKERS compare TOPIC json|protobuf|arrow LINES [FRAME]

`compare` prints {"rows": distinct rows, "messages": N, "twice": rows that came again, "partitions": those
in use, "missing": N}. What is not as it should be goes to standard error and makes it fail; what is missing
does not: who asks knows whether it may be. FRAME is the id of Confluent's framing that must stand before
each value.
"""

import importlib
import json
import struct
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path

import pyarrow.ipc
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import (AclBinding, AclBindingFilter, AclOperation, AclPermissionType,
                                   AdminClient, NewTopic, ResourcePatternType, ResourceType)

import rows

PROTO = Path(__file__).parent / "../../schemas/proto"
TYPES = {
    "json": b"application/json",
    "protobuf": b"application/x-protobuf",
    "arrow": b"application/vnd.apache.arrow.stream",
}
# What the sections of the stored columns are called in the flat ones.
SECTIONS = {"lane": "", "interface": "interface_", "source": "source_", "destination": "destination_",
            "service": "service_", "policies": "", "reason": ""}


def make_topic(brokers, name, partitions, *settings):
    admin = AdminClient({"bootstrap.servers": brokers})
    topic = NewTopic(name, num_partitions=int(partitions), replication_factor=1,
                     config=dict(setting.split("=") for setting in settings))
    for made in admin.create_topics([topic], operation_timeout=60).values():
        made.result(60)


def rule(topic, user, kind):
    return kind(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, f"User:{user}", "*",
                AclOperation.WRITE, AclPermissionType.DENY)


def deny(brokers, topic, user):
    admin = AdminClient({"bootstrap.servers": brokers})
    for made in admin.create_acls([rule(topic, user, AclBinding)]).values():
        made.result(60)


def allow(brokers, topic, user):
    admin = AdminClient({"bootstrap.servers": brokers})
    for gone in admin.delete_acls([rule(topic, user, AclBindingFilter)]).values():
        gone.result(60)


def messages(brokers, topic):
    """Everything in a topic, partition by partition."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "reader", "enable.auto.commit": False,
                         "enable.partition.eof": False, "isolation.level": "read_committed"})
    partitions = consumer.list_topics(topic, timeout=60).topics[topic].partitions
    for partition in partitions:
        place = TopicPartition(topic, partition)
        low, high = consumer.get_watermark_offsets(place, timeout=60)
        place.offset = low
        consumer.assign([place])
        while low < high:
            message = consumer.poll(60)
            if message is None or message.error():
                sys.exit(f"{topic}/{partition}: {message and message.error()}")
            low = message.offset() + 1
            yield message
    consumer.close()


# === The three forms, each back to the row as JSON has it, or to its columns ===

def of_json(value):
    row = json.loads(value)
    return [(row, row)]


def of_arrow(value):
    batches = pyarrow.ipc.open_stream(value)
    assert batches.schema.metadata[b"whyflow.schema"] == b"flow/1"
    for found in batches.read_all().to_pylist():
        flat = {}
        for name, part in found.items():
            if name not in SECTIONS:
                flat[name] = part
                continue
            for field, inner in (part or {}).items():
                flat[SECTIONS[name] + field] = inner
        for name, part in flat.items():
            if name.endswith("labels"):
                flat[name] = dict(part)
        for name in rows.TIMES:
            flat[name] = round(flat[name].timestamp() * 1_000_000) // 1000
        yield flat, None


def schema():
    """The message's class, from the published schema."""
    from grpc_tools import protoc
    out = tempfile.mkdtemp()
    status = protoc.main(["protoc", f"-I{PROTO}", f"--python_out={out}", "flow.proto"])
    assert status == 0, "flow.proto does not compile"
    sys.path.insert(0, out)
    return importlib.import_module("flow_pb2")


def word(enum, number):
    """`VERDICT_DENY` of `Verdict` is `deny`; `REPORTER_SRC` is `Src`, and so are kinds."""
    name = enum.Name(number)
    start = {"InitiatorFrom": "INITIATOR_FROM_", "EndpointKind": "ENDPOINT_KIND_"}.get(
        enum.DESCRIPTOR.name, enum.DESCRIPTOR.name.upper() + "_")
    text = name.removeprefix(start)
    if enum.DESCRIPTOR.name in ("Reporter", "EndpointKind"):
        return "".join(part.capitalize() for part in text.split("_"))
    return text.lower()


def time(micros):
    millis = micros // 1000
    at = datetime.fromtimestamp(millis // 1000, timezone.utc)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{millis % 1000:03}Z"


def texts(message, *names):
    return {name: getattr(message, name) for name in names if getattr(message, name)}


def endpoint(pb, message):
    row = {"kind": word(pb.EndpointKind, message.kind), "name": message.name}
    row |= texts(message, "namespace", "aggregated_name", "service_account", "node", "zone")
    for name in ["labels", "namespace_labels", "service_account_labels"]:
        if getattr(message, name):
            row[name] = dict(getattr(message, name))
    if message.addresses:
        row["addresses"] = list(message.addresses)
    if message.HasField("owner"):
        row["owner"] = {"kind": message.owner.kind, "name": message.owner.name}
    if message.host_network:
        row["host_network"] = True
    if message.declared_ports:
        row["declared_ports"] = [{"name": port.name, "protocol": port.protocol, "port": port.port}
                                 for port in message.declared_ports]
    return row


def policy(message):
    return {"kind": message.kind, "tier": message.tier, "namespace": message.namespace,
            "name": message.name}


def hit(pb, message):
    row = {"kind": message.kind, "action": word(pb.Action, message.action),
           "policy_index": message.policy_index} | texts(message, "tier", "namespace", "name")
    for name in ["rule_index", "calico_rule_index"]:
        if message.HasField(name):
            row[name] = getattr(message, name)
    if message.HasField("trigger"):
        row["trigger"] = policy(message.trigger)
    return row


def numbers(message):
    return {field.name: getattr(message, field.name) for field in message.DESCRIPTOR.fields}


def of_protobuf(pb, value):
    message = pb.Flow.FromString(value)
    row = texts(message, "id", "correction", "cluster", "disagreement", "protocol", "sentence",
                "policy_revision", "dns_name", "community_id")
    for name in ["window_start", "window_end", "first_seen", "last_seen"]:
        row[name] = time(getattr(message, name + "_us"))
    for name, enum in [("reporter", pb.Reporter), ("origin", pb.Origin), ("seen", pb.Seen),
                       ("action", pb.Verdict), ("outcome", pb.Outcome),
                       ("initiator_from", pb.InitiatorFrom), ("since", pb.Since)]:
        row[name] = word(enum, getattr(message, name))
    if message.HasField("lane"):
        row["lane"] = numbers(message.lane)
    if message.HasField("interface"):
        row["interface"] = texts(message.interface, "node", "netns", "name")
    row["source"] = endpoint(pb, message.source)
    row["destination"] = endpoint(pb, message.destination)
    if message.HasField("destination_port"):
        row["destination"]["port"] = message.destination_port
    if message.HasField("service"):
        row["service"] = numbers(message.service)
    if message.HasField("icmp_type"):
        row["icmp"] = {"type": message.icmp_type, "code": message.icmp_code}
    for name in ["tuple", "translated", "rtt"]:
        if message.HasField(name):
            row[name] = numbers(getattr(message, name))
    row["counters"] = numbers(message.counters)
    flags = [name for name, bit in rows.FLAGS.items() if message.tcp_flags & bit]
    if flags:
        row["tcp_flags"] = flags
    evidence = message.evidence
    row["evidence"] = {name: getattr(evidence, name) for name in ["delivered", "answered", "refused"]}
    if evidence.dropped:
        row["evidence"]["dropped"] = [numbers(dropped) for dropped in evidence.dropped]
    if evidence.far_not_visible:
        row["evidence"]["far_not_visible"] = True
    if message.HasField("policies"):
        row["policies"] = {
            "enforced": [hit(pb, one) for one in message.policies.enforced],
            "pending": [hit(pb, one) for one in message.policies.pending],
            "pending_action": word(pb.Verdict, message.policies.pending_action),
            "as_read": word(pb.Verdict, message.policies.as_read),
        }
    if message.HasField("decided_by"):
        by = message.decided_by
        rule = numbers(by.rule) if by.HasField("rule") else None
        row["decided_by"] = policy(by.policy) | {"rule": rule}
    if message.near_misses:
        row["near_misses"] = [
            {"policy": policy(miss.policy), "rule": numbers(miss.rule),
             "failed": [numbers(term) for term in miss.failed]} for miss in message.near_misses]
    return [(row, row)]


# === Comparing ===

def full(value):
    """A row without what is empty: which of the empty texts are written is not what is compared."""
    if isinstance(value, dict):
        parts = {name: full(part) for name, part in value.items()}
        return {name: part for name, part in parts.items() if part not in ("", None)}
    return [full(part) for part in value] if isinstance(value, list) else value


def pair(row):
    """Both ends after translation, in no order: who must be in one partition."""
    ends = row.get("translated") or row.get("tuple")
    if ends:
        return frozenset([ends["source_address"], ends["destination_address"]])
    names = [(row[end].get("addresses") or [f'{row[end].get("namespace", "")}/{row[end]["name"]}'])[0]
             for end in ("source", "destination")]
    return frozenset(names)


def check_message(message, form, frame):
    headers = dict(message.headers() or [])
    expected = {"whyflow.schema": b"flow", "whyflow.schema.version": b"1", "content-type": TYPES[form]}
    assert headers == expected, headers
    value = message.value()
    if frame is not None:
        start = struct.pack(">bI", 0, int(frame)) + (b"\0" if form == "protobuf" else b"")
        assert value.startswith(start), value[:8]
        value = value[len(start):]
    return value


def compare(brokers, topic, form, lines, frame=None):
    with open(lines, encoding="utf-8") as file:
        expected = {row["id"]: row for row in map(json.loads, file)}
    pb = schema() if form == "protobuf" else None
    read = {"json": of_json, "arrow": of_arrow, "protobuf": lambda value: of_protobuf(pb, value)}[form]
    seen, count, partitions, keys, wrong = {}, 0, {}, {}, []
    for message in messages(brokers, topic):
        count += 1
        for row, whole in read(check_message(message, form, frame)):
            number = row["id"]
            seen[number] = seen.get(number, 0) + 1
            known = expected.get(number)
            if known is None:
                wrong.append(f"{number} was never there")
                continue
            wanted = rows.columns_of(known) if whole is None else full(known)
            found = row if whole is None else full(row)
            for name in sorted(found.keys() | wanted.keys()):
                if found.get(name) != wanted.get(name):
                    wrong.append(f"{number}, {name}: {found.get(name)!r}, expected {wanted.get(name)!r}")
            partitions.setdefault(pair(known), set()).add(message.partition())
            if whole is not None:
                keys.setdefault(pair(known), set()).add(message.key())
    wrong += [f"{set(ends)} are in {used}" for ends, used in (partitions | {}).items() if len(used) > 1]
    wrong += [f"{set(ends)} have {used}" for ends, used in keys.items() if len(used) > 1]
    if wrong:
        sys.exit(f"{topic}: {len(wrong)} differences\n" + "\n".join(wrong[:20]))
    json.dump({"rows": len(seen), "messages": count, "twice": sum(seen.values()) - len(seen),
               "partitions": len(set().union(*partitions.values())) if partitions else 0,
               "missing": len(expected.keys() - seen.keys())}, sys.stdout)


def main():
    brokers, command, *rest = sys.argv[1:]
    {"topic": make_topic, "deny": deny, "allow": allow, "compare": compare}[command](brokers, *rest)


if __name__ == "__main__":
    main()
