"""A client of Goldmane's flow API, written with grpcio from the proto file alone.

    goldmane.py PROTO_FOLDER ADDRESS push     pushes flows, and again over a new connection
    goldmane.py PROTO_FOLDER ADDRESS ask      lists, hints, statistics, stream, health, reflection
    goldmane.py PROTO_FOLDER ADDRESS since    lists and streams all from START on

Prints one JSON object: what it was told. Needs no state but START in the environment, seconds of
the first flow.
"""

import importlib
import json
import os
import sys
import tempfile

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpc_tools import protoc


def generated(folder):
    """Messages and stubs, made as any client makes them."""
    out = tempfile.mkdtemp()
    made = protoc.main(
        ["protoc", f"-I{folder}", f"--python_out={out}", f"--grpc_python_out={out}", "goldmane.proto"]
    )
    assert made == 0
    sys.path.insert(0, out)
    return importlib.import_module("goldmane_pb2"), importlib.import_module("goldmane_pb2_grpc")


def flows(pb, start):
    """Eight windows of a call that is allowed, and one that the end of a tier denies."""
    for window in range(8):
        hit = pb.PolicyHit(kind="NetworkPolicy", namespace="shop", name="cart-clients",
                           tier="default", action="Allow", rule_index=1)
        key = pb.FlowKey(
            source_name="frontend-*", source_namespace="shop", source_type="WorkloadEndpoint",
            dest_name="cart-*", dest_namespace="shop", dest_type="WorkloadEndpoint", dest_port=8080,
            dest_service_name="cart", dest_service_namespace="shop", dest_service_port_name="http",
            dest_service_port=80, proto="tcp", reporter="Src", action="Allow",
            policies=pb.PolicyTrace(enforced_policies=[hit], pending_policies=[hit]))
        yield flow(pb, key, start + window * 15, 10)
    end = pb.PolicyHit(kind="EndOfTier", tier="default", action="Deny", rule_index=-1,
                       trigger=pb.PolicyHit(kind="NetworkPolicy", namespace="shop",
                                            name="cart-clients", tier="default"))
    key = pb.FlowKey(
        source_name="pub", source_namespace="-", source_type="Network", dest_name="cart-*",
        dest_namespace="shop", dest_type="WorkloadEndpoint", dest_port=8080, dest_service_name="-",
        dest_service_namespace="-", dest_service_port_name="-", proto="tcp", reporter="Dst",
        action="Deny", policies=pb.PolicyTrace(enforced_policies=[end], pending_policies=[end]))
    yield flow(pb, key, start, 1)


def connect(address):
    """With TLS and a certificate of its own where CA, CERT and KEY name files."""
    if "CA" not in os.environ:
        # On a unix socket grpcio sends the escaped path as the authority, which no URI allows; Go's
        # client, which Felix has, sends this.
        options = [("grpc.default_authority", "localhost")] if address.startswith("unix:") else []
        return grpc.insecure_channel(address, options=options)
    ca, certificate, key = (open(os.environ[name], "rb").read() for name in ("CA", "CERT", "KEY"))
    credentials = grpc.ssl_channel_credentials(ca, key, certificate)
    name = ("grpc.ssl_target_name_override", "goldmane.calico-system.svc")
    return grpc.secure_channel(address, credentials, options=[name])


def flow(pb, key, start, packets):
    return pb.FlowUpdate(flow=pb.Flow(
        Key=key, start_time=start, end_time=start, source_labels=["app=frontend"],
        packets_in=packets, packets_out=packets, bytes_in=packets * 60, bytes_out=packets * 60,
        num_connections_started=1, num_connections_live=1))


def push(pb, rpc, address):
    start = int(os.environ["START"])
    receipts = []
    for _ in range(2):
        with connect(address) as channel:
            updates = iter(list(flows(pb, start)))
            receipts.append(len(list(rpc.FlowCollectorStub(channel).Connect(updates))))
    return {"receipts": receipts}


def ask(pb, rpc, address):
    start = int(os.environ["START"])
    channel = connect(address)
    stub = rpc.FlowsStub(channel)
    listed = stub.List(pb.FlowListRequest(sort_by=[pb.SortOption(sort_by="SourceName")]))
    hints = stub.FilterHints(pb.FilterHintsRequest(type="FilterTypePolicyName"))
    name = pb.PolicyMatch(name=pb.StringMatch(value="cart-clients"))
    denied = stub.List(pb.FlowListRequest(filter=pb.Filter(policies=[name], actions=["Deny"])))
    statistics = list(rpc.StatisticsStub(channel).List(pb.StatisticsRequest(group_by="PolicyRule")))
    stream = stub.Stream(pb.FlowStreamRequest(start_time_gte=start))
    streamed = [next(stream) for _ in range(9)]
    stream.cancel()
    health = health_pb2_grpc.HealthStub(channel).Check(
        health_pb2.HealthCheckRequest(service="goldmane.Flows"))
    services = sorted(ProtoReflectionDescriptorDatabase(channel).get_services())
    return {
        "flows": [
            [f.flow.Key.source_name, pb.Action.Name(f.flow.Key.action), f.flow.packets_in,
             f.flow.num_connections_live, f.flow.start_time - start, f.flow.end_time - start]
            for f in listed.flows
        ],
        "total": listed.meta.totalResults,
        "hints": [hint.value for hint in hints.hints],
        "denied": [f.flow.Key.source_name for f in denied.flows],
        "statistics": sorted(
            [pb.RuleDirection.Name(s.direction), s.policy.rule_index, sum(s.allowed_in),
             sum(s.denied_in)]
            for s in statistics
        ),
        "streamed": sorted([f.flow.start_time - start, f.flow.packets_in] for f in streamed),
        "health": health_pb2.HealthCheckResponse.ServingStatus.Name(health.status),
        "services": services,
    }


def since(pb, rpc, address):
    start = int(os.environ["START"])
    stub = rpc.FlowsStub(connect(address))
    listed, call = stub.List.with_call(pb.FlowListRequest(start_time_gte=start))
    stream = stub.Stream(pb.FlowStreamRequest(start_time_gte=start), timeout=60)
    begins = dict(stream.initial_metadata())
    streamed = [next(stream) for _ in range(9)]
    stream.cancel()
    return {
        "packets": sum(f.flow.packets_in for f in listed.flows),
        "history_from": dict(call.initial_metadata()).get("whyflow-history-from"),
        "stream_history_from": begins.get("whyflow-history-from"),
        "first": min(f.flow.start_time for f in streamed) - start,
    }


if __name__ == "__main__":
    folder, address, command = sys.argv[1:]
    pb, rpc = generated(folder)
    print(json.dumps({"push": push, "ask": ask, "since": since}[command](pb, rpc, address)))
