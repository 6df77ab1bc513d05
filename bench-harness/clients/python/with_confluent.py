"""The operations through confluent-kafka (librdkafka)."""

import threading
import time

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition, version
from confluent_kafka import ElectionType  # noqa: F401 - proves that the admin half of the library is there
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic,
                                   OffsetSpec, ResourceType)

from values import decode, encode, headers_in, headers_out

WAIT = 30
MEMBERS = {}
ADMINS = {}


def about(request):
    return {"version": version()}


def admin(request):
    """One admin client a broker: a future of one that was dropped never ends."""
    return ADMINS.setdefault(request["bootstrap"], AdminClient({"bootstrap.servers": request["bootstrap"]}))


def produce(request):
    settings = {
        "bootstrap.servers": request["bootstrap"],
        "acks": request.get("acks", "all"),
        "compression.type": request.get("compression", "none"),
        "enable.idempotence": request.get("idempotence", False),
        "message.max.bytes": request.get("max_size", 1000000),
        "linger.ms": request.get("linger_ms", 5),
        **request.get("config", {}),
    }
    producer = Producer(settings)
    told, failed = {}, []

    def delivered(index):
        def callback(error, message):
            if error is not None:
                failed.append(KafkaException(error))
            else:
                told[index] = {"partition": message.partition(), "offset": message.offset()}
        return callback

    for index, record in enumerate(request["records"]):
        optional = {k: record[k] for k in ("partition", "timestamp") if record.get(k) is not None}
        producer.produce(request["topic"], value=decode(record.get("value")), key=decode(record.get("key")),
                         headers=headers_in(record), on_delivery=delivered(index), **optional)
        producer.poll(0)
    producer.flush(request.get("timeout", WAIT))
    if failed:
        raise failed[0]
    return [told[index] for index in range(len(request["records"]))]


def consumer(request, **more):
    return Consumer({
        "bootstrap.servers": request["bootstrap"],
        "group.id": request.get("group", "reader"),
        "enable.auto.commit": False,
        "enable.partition.eof": False,
        "auto.offset.reset": "error",
        "fetch.message.max.bytes": request.get("max_size", 1048576),
        "fetch.wait.max.ms": 100,
        **more,
        **request.get("config", {}),
    })


def record_of(message):
    return {"partition": message.partition(), "offset": message.offset(), "timestamp": message.timestamp()[1],
            "timestamp_type": message.timestamp()[0],
            "key": encode(message.key()), "value": encode(message.value()), "headers": headers_out(message.headers())}


def consume(request):
    reader = consumer(request)
    try:
        reader.assign([TopicPartition(request["topic"], p, start(reader, request, p)) for p in request["partitions"]])
        records, until = [], time.monotonic() + request.get("timeout", WAIT)
        while len(records) < request["count"] and time.monotonic() < until:
            message = reader.poll(0.2)
            if message is None:
                continue
            if message.error():
                raise KafkaException(message.error())
            records.append(record_of(message))
        return records
    finally:
        reader.close()


def start(reader, request, partition):
    """The first offset to read: a number, "earliest", "latest", or a {"time"} in ms."""
    since = request.get("from", "earliest")
    if since == "earliest":
        return reader.get_watermark_offsets(TopicPartition(request["topic"], partition), timeout=WAIT)[0]
    if since == "latest":
        return reader.get_watermark_offsets(TopicPartition(request["topic"], partition), timeout=WAIT)[1]
    if isinstance(since, dict):
        found = reader.offsets_for_times([TopicPartition(request["topic"], partition, since["time"])], timeout=WAIT)
        return found[0].offset
    return since


def seek(request):
    """Reads the first record, goes to `to`, and returns the record there; shows that a session follows a seek."""
    reader = consumer(request)
    try:
        reader.assign([TopicPartition(request["topic"], 0, 0)])
        first = wait_record(reader)
        reader.seek(TopicPartition(request["topic"], 0, request["to"]))
        return [record_of(first), record_of(wait_record(reader))]
    finally:
        reader.close()


def wait_record(reader):
    until = time.monotonic() + WAIT
    while time.monotonic() < until:
        message = reader.poll(0.2)
        if message is not None:
            if message.error():
                raise KafkaException(message.error())
            return message
    raise TimeoutError("no record")


def list_offsets(request):
    at = request["at"]
    spec = {"earliest": OffsetSpec.earliest, "latest": OffsetSpec.latest, "max_timestamp": OffsetSpec.max_timestamp}
    wanted = spec[at]() if isinstance(at, str) else OffsetSpec.for_timestamp(at)
    place = TopicPartition(request["topic"], request.get("partition", 0))
    found = admin(request).list_offsets({place: wanted}, request_timeout=WAIT)[place].result()
    return {"offset": found.offset, "timestamp": found.timestamp}


def metadata(request):
    told = admin(request).list_topics(request.get("topic"), timeout=WAIT)
    topics = {name: {"error": t.error.code() if t.error else 0,
                     "partitions": [{"id": p.id, "leader": p.leader, "replicas": p.replicas, "isrs": p.isrs}
                                    for p in sorted(t.partitions.values(), key=lambda p: p.id)]}
              for name, t in told.topics.items()}
    return {"cluster": told.cluster_id, "controller": told.controller_id, "topics": topics,
            "brokers": [{"id": b.id, "host": b.host, "port": b.port} for b in told.brokers.values()]}


def create_topic(request):
    topic = NewTopic(request["topic"], request.get("partitions", 1), request.get("replication", 1),
                     config=request.get("config", {}))
    made = admin(request).create_topics([topic], request_timeout=WAIT, validate_only=request.get("validate_only", False))
    made[request["topic"]].result()


def delete_topic(request):
    admin(request).delete_topics([request["topic"]], request_timeout=WAIT)[request["topic"]].result()


def create_partitions(request):
    grown = NewPartitions(request["topic"], request["partitions"])
    admin(request).create_partitions([grown], request_timeout=WAIT)[request["topic"]].result()


def resource(request, entries=None):
    if "broker" in request:
        return ConfigResource(ResourceType.BROKER, str(request["broker"]), incremental_configs=entries)
    return ConfigResource(ResourceType.TOPIC, request["topic"], incremental_configs=entries)


def describe_configs(request):
    wanted = resource(request)
    found = admin(request).describe_configs([wanted], request_timeout=WAIT)[wanted].result()
    return {name: {"value": e.value, "source": int(e.source), "read_only": e.is_read_only,
                   "synonyms": sorted(e.synonyms)} for name, e in found.items()}


def alter_configs(request):
    entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET if value is not None
                           else AlterConfigOpType.DELETE) for name, value in request["set"].items()]
    wanted = resource(request, entries)
    admin(request).incremental_alter_configs([wanted], request_timeout=WAIT)[wanted].result()


def delete_records(request):
    place = TopicPartition(request["topic"], request.get("partition", 0), request["before"])
    return admin(request).delete_records([place], request_timeout=WAIT)[place].result().low_watermark


def commit(request):
    place = TopicPartition(request["topic"], request.get("partition", 0), request["offset"],
                           request.get("metadata") or "")
    reader = consumer(request)
    try:
        reader.commit(offsets=[place], asynchronous=False)
    finally:
        reader.close()


def committed(request):
    reader = consumer(request)
    try:
        place = reader.committed([TopicPartition(request["topic"], request.get("partition", 0))], timeout=WAIT)[0]
        return {"offset": place.offset if place.offset >= 0 else None, "metadata": place.metadata}
    finally:
        reader.close()


def alter_group_offset(request):
    place = TopicPartition(request["topic"], request.get("partition", 0), request["offset"])
    wanted = ConsumerGroupTopicPartitions(request["group"], [place])
    admin(request).alter_consumer_group_offsets([wanted], request_timeout=WAIT)[request["group"]].result()


def list_groups(request):
    found = admin(request).list_consumer_groups(request_timeout=WAIT).result()
    return {g.group_id: g.state.name.lower() for g in found.valid}


def describe_group(request):
    found = admin(request).describe_consumer_groups([request["group"]], request_timeout=WAIT)[request["group"]].result()
    return {"state": found.state.name.lower(), "assignor": found.partition_assignor,
            "members": [{"client": m.client_id, "instance": m.group_instance_id,
                         "partitions": sorted(p.partition for p in m.assignment.topic_partitions)}
                        for m in found.members]}


def delete_group(request):
    admin(request).delete_consumer_groups([request["group"]], request_timeout=WAIT)[request["group"]].result()


class Member(threading.Thread):
    """One group member: polls on its own thread, remembers what it was given and what it read."""

    def __init__(self, request):
        super().__init__(daemon=True)
        self.request, self.ending, self.error = request, threading.Event(), None
        self.leave, self.assigned, self.records, self.rebalances = True, [], [], 0
        more = {"partition.assignment.strategy": request.get("strategy", "range"), "auto.offset.reset": "earliest",
                "session.timeout.ms": request.get("session", 10000), "heartbeat.interval.ms": 300,
                "client.id": request["name"]}
        if request.get("instance"):
            more["group.instance.id"] = request["instance"]
        self.cooperative = "cooperative" in more["partition.assignment.strategy"]
        self.consumer = consumer(request, **more)
        self.consumer.subscribe([request["topic"]], on_assign=self.on_assign, on_revoke=self.on_revoke)

    def on_assign(self, reader, places):
        got = [p.partition for p in places]
        self.assigned = sorted(set(self.assigned) | set(got)) if self.cooperative else sorted(got)
        self.rebalances += 1

    def on_revoke(self, reader, places):
        lost = {p.partition for p in places}
        self.assigned = [p for p in self.assigned if p not in lost]

    def run(self):
        try:
            while not self.ending.is_set():
                message = self.consumer.poll(0.1)
                if message is None:
                    continue
                if message.error():
                    raise KafkaException(message.error())
                self.records.append([message.partition(), message.offset(), encode(message.value())])
                if self.request.get("commit", True):
                    self.consumer.commit(message, asynchronous=False)
        except Exception as error:  # shown by `member_state`
            self.error = str(error)
        if self.leave:
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
    member.leave = request.get("leave", True)
    member.ending.set()
    member.join(WAIT)
