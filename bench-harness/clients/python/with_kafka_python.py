"""The operations through kafka-python."""

import threading
import time

import kafka
import kafka.errors
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.structs import OffsetAndMetadata

from values import decode, encode, headers_in, headers_out

WAIT = 30
MEMBERS = {}


def about(request):
    return {"version": kafka.__version__}


class Admin:
    """An admin client for one operation."""

    def __init__(self, request):
        self.client = KafkaAdminClient(bootstrap_servers=request["bootstrap"], request_timeout_ms=WAIT * 1000)

    def __enter__(self):
        return self.client

    def __exit__(self, *_):
        self.client.close()


def produce(request):
    acks = request.get("acks", "all")
    compression = request.get("compression", "none")
    size = request.get("max_size", 1000000)
    producer = KafkaProducer(
        bootstrap_servers=request["bootstrap"], acks=acks if acks == "all" else int(acks),
        compression_type=None if compression == "none" else compression,
        enable_idempotence=request.get("idempotence", False), max_request_size=size + 1024,
        linger_ms=request.get("linger_ms", 5))
    try:
        sent = [producer.send(request["topic"], value=decode(r.get("value")), key=decode(r.get("key")),
                              headers=headers_in(r), partition=r.get("partition"), timestamp_ms=r.get("timestamp"))
                for r in request["records"]]
        producer.flush(WAIT)
        told = [future.get(WAIT) for future in sent]
        return [{"partition": t.partition, "offset": t.offset} for t in told]
    finally:
        producer.close(5)


def consumer(request, **more):
    settings = {
        "bootstrap_servers": request["bootstrap"], "group_id": request.get("group"), "enable_auto_commit": False,
        "auto_offset_reset": "none", "fetch_max_wait_ms": 100,
        "max_partition_fetch_bytes": request.get("max_size", 1048576), **more,
    }
    return KafkaConsumer(**settings)


def record_of(r):
    return {"partition": r.partition, "offset": r.offset, "timestamp": r.timestamp, "timestamp_type": r.timestamp_type + 1,
            "key": encode(r.key), "value": encode(r.value), "headers": headers_out(r.headers)}


def consume(request):
    reader = consumer(request)
    try:
        places = [TopicPartition(request["topic"], p) for p in request["partitions"]]
        reader.assign(places)
        for place in places:
            go_to(reader, place, request.get("from", "earliest"))
        return read(reader, request["count"], request.get("timeout", WAIT))
    finally:
        reader.close()


def go_to(reader, place, since):
    if since == "earliest":
        reader.seek_to_beginning(place)
    elif since == "latest":
        reader.seek_to_end(place)
    elif isinstance(since, dict):
        reader.seek(place, reader.offsets_for_times({place: since["time"]})[place].offset)
    else:
        reader.seek(place, since)


def read(reader, count, seconds):
    records, until = [], time.monotonic() + seconds
    while len(records) < count and time.monotonic() < until:
        for batch in reader.poll(timeout_ms=200).values():
            records.extend(record_of(r) for r in batch)
    return records[:count] if count else records


def seek(request):
    reader = consumer(request)
    try:
        place = TopicPartition(request["topic"], 0)
        reader.assign([place])
        reader.seek(place, 0)
        first = read(reader, 1, WAIT)
        reader.seek(place, request["to"])
        return first + read(reader, 1, WAIT)
    finally:
        reader.close()


def list_offsets(request):
    place = TopicPartition(request["topic"], request.get("partition", 0))
    at = request["at"]
    spec = {"earliest": OffsetSpec.EARLIEST, "latest": OffsetSpec.LATEST, "max_timestamp": OffsetSpec.MAX_TIMESTAMP}
    with Admin(request) as client:
        found = client.list_partition_offsets({place: spec[at] if isinstance(at, str) else at})[place]
        return {"offset": found.offset, "timestamp": found.timestamp}


def metadata(request):
    with Admin(request) as client:
        cluster = client.describe_cluster()
        topics = client.describe_topics([request["topic"]] if request.get("topic") else None)
    return {"cluster": cluster["cluster_id"], "controller": cluster["controller_id"],
            "topics": {t["name"]: {"partitions": [
                {"id": p["partition_index"], "leader": p["leader_id"], "replicas": p["replica_nodes"], "isrs": p["isr_nodes"]}
                for p in sorted(t["partitions"], key=lambda p: p["partition_index"])]} for t in topics},
            "brokers": [{"id": b.get("broker_id", b.get("node_id")), "host": b["host"], "port": b["port"]}
                        for b in cluster["brokers"]]}


def create_topic(request):
    wanted = {"num_partitions": request.get("partitions", 1), "replication_factor": request.get("replication", 1),
              "configs": request.get("config", {})}
    with Admin(request) as client:
        client.create_topics({request["topic"]: wanted})


def delete_topic(request):
    with Admin(request) as client:
        client.delete_topics([request["topic"]])


def create_partitions(request):
    with Admin(request) as client:
        client.create_partitions({request["topic"]: request["partitions"]})


def describe_configs(request):
    with Admin(request) as client:
        told = client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, request["topic"])], config_filter="all")
    return {name: {"value": e["value"], "source": e["config_source"], "read_only": e["read_only"]}
            for name, e in told["topic"][request["topic"]].items()}


def alter_configs(request):
    with Admin(request) as client:
        client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, request["topic"], configs=request["set"])])


def delete_records(request):
    place = TopicPartition(request["topic"], request.get("partition", 0))
    with Admin(request) as client:
        told = client.delete_records({place: request["before"]})[place]
    return told["low_watermark"] if isinstance(told, dict) else told


def commit(request):
    reader = consumer(request)
    try:
        place = TopicPartition(request["topic"], request.get("partition", 0))
        reader.assign([place])
        reader.commit({place: OffsetAndMetadata(request["offset"], request.get("metadata") or "", -1)})
    finally:
        reader.close()


def committed(request):
    reader = consumer(request)
    try:
        told = reader.committed(TopicPartition(request["topic"], request.get("partition", 0)), metadata=True)
        return {"offset": told.offset if told else None, "metadata": told.metadata if told else None}
    finally:
        reader.close()


def list_groups(request):
    with Admin(request) as client:
        return {g["group_id"]: g["group_state"].lower() for g in client.list_groups()}


def describe_group(request):
    with Admin(request) as client:
        found = client.describe_groups([request["group"]])[request["group"]]
    return {"state": found["group_state"].lower(), "assignor": found["protocol_data"],
            "members": [{"client": m["client_id"], "instance": m["group_instance_id"]} for m in found["members"]]}


def delete_group(request):
    with Admin(request) as client:
        told = client.delete_groups([request["group"]])[request["group"]]
    if told != "OK":
        raise getattr(kafka.errors, told)()


class Member(threading.Thread, ConsumerRebalanceListener):
    """One group member: polls on its own thread, remembers what it was given and what it read."""

    def __init__(self, request):
        threading.Thread.__init__(self, daemon=True)
        self.request, self.ending, self.error = request, threading.Event(), None
        self.assigned, self.records, self.rebalances = [], [], 0
        cooperative = "cooperative" in request.get("strategy", "range")
        self.consumer = consumer(
            request, auto_offset_reset="earliest", client_id=request["name"], group_instance_id=request.get("instance"),
            session_timeout_ms=request.get("session", 10000), heartbeat_interval_ms=300,
            partition_assignment_strategy=[CooperativeStickyAssignor if cooperative else RangePartitionAssignor])
        # kafka-python 3.0 loses an assignment that arrives after a poll ran out during a rebalance, with Apache Kafka too: it is
        # given the topic's partitions first, so that it need not join twice, and long polls.
        self.consumer.partitions_for_topic(request["topic"])
        self.consumer.subscribe([request["topic"]], listener=self)

    def on_partitions_assigned(self, assigned):
        self.rebalances += 1

    def on_partitions_revoked(self, revoked):
        pass

    def run(self):
        try:
            while not self.ending.is_set():
                batches = self.consumer.poll(timeout_ms=1000)
                self.assigned = sorted(p.partition for p in self.consumer.assignment())
                for batch in batches.values():
                    self.records.extend([r.partition, r.offset, encode(r.value)] for r in batch)
                if batches and self.request.get("commit", True):
                    self.consumer.commit()
        except Exception as error:  # shown by `member_state`
            self.error = repr(error)
        self.consumer.close()


def member_start(request):
    MEMBERS[request["name"]] = member = Member(request)
    member.start()


def member_state(request):
    member = MEMBERS[request["name"]]
    return {"assigned": member.assigned, "records": list(member.records), "error": member.error,
            "rebalances": member.rebalances}


def member_stop(request):
    member = MEMBERS.pop(request["name"])
    member.ending.set()
    member.join(WAIT)
