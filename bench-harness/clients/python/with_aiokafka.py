"""The operations through aiokafka. Its clients live on one event loop on a thread of its own."""

import asyncio
import threading
import time

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.structs import OffsetAndMetadata

from values import decode, encode, headers_in, headers_out

WAIT = 30
MEMBERS = {}
LOOP = asyncio.new_event_loop()
threading.Thread(target=LOOP.run_forever, daemon=True).start()


def on_loop(operation):
    """Makes an operation callable from the driver's threads."""
    def call(request):
        return asyncio.run_coroutine_threadsafe(operation(request), LOOP).result()
    return call


def about(request):
    return {"version": aiokafka.__version__}


class Admin:
    """An admin client for one operation."""

    def __init__(self, request):
        self.client = AIOKafkaAdminClient(bootstrap_servers=request["bootstrap"], request_timeout_ms=WAIT * 1000)

    async def __aenter__(self):
        await self.client.start()
        return self.client

    async def __aexit__(self, *_):
        await self.client.close()


def check(response):
    """Raises the first error of an admin answer, which aiokafka hands over unread."""
    for entry in response.topic_errors if hasattr(response, "topic_errors") else response.topic_error_codes:
        if entry[1]:
            raise aiokafka.errors.for_code(entry[1])(str(entry))


@on_loop
async def produce(request):
    acks = request.get("acks", "all")
    compression = request.get("compression", "none")
    producer = AIOKafkaProducer(
        bootstrap_servers=request["bootstrap"], acks=acks if acks == "all" else int(acks),
        compression_type=None if compression == "none" else compression,
        enable_idempotence=request.get("idempotence", False), max_request_size=request.get("max_size", 1000000) + 1024,
        linger_ms=request.get("linger_ms", 5))
    await producer.start()
    try:
        sent = [await producer.send(request["topic"], value=decode(r.get("value")), key=decode(r.get("key")),
                                    headers=headers_in(r), partition=r.get("partition"), timestamp_ms=r.get("timestamp"))
                for r in request["records"]]
        told = [await asyncio.wait_for(future, WAIT) for future in sent]
        return [{"partition": t.partition if t else -1, "offset": t.offset if t else -1} for t in told]
    finally:
        await producer.stop()


def consumer(request, **more):
    settings = {
        "bootstrap_servers": request["bootstrap"], "group_id": request.get("group"), "enable_auto_commit": False,
        "auto_offset_reset": "none", "fetch_max_wait_ms": 100,
        "max_partition_fetch_bytes": request.get("max_size", 1048576), **more,
    }
    return AIOKafkaConsumer(**settings)


def record_of(r):
    return {"partition": r.partition, "offset": r.offset, "timestamp": r.timestamp, "timestamp_type": r.timestamp_type + 1,
            "key": encode(r.key), "value": encode(r.value), "headers": headers_out(r.headers)}


async def read(reader, count, seconds):
    records, until = [], time.monotonic() + seconds
    while len(records) < count and time.monotonic() < until:
        for batch in (await reader.getmany(timeout_ms=200)).values():
            records.extend(record_of(r) for r in batch)
    return records[:count]


@on_loop
async def consume(request):
    reader = consumer(request)
    await reader.start()
    try:
        places = [TopicPartition(request["topic"], p) for p in request["partitions"]]
        reader.assign(places)
        for place in places:
            await go_to(reader, place, request.get("from", "earliest"))
        return await read(reader, request["count"], request.get("timeout", WAIT))
    finally:
        await reader.stop()


async def go_to(reader, place, since):
    if since == "earliest":
        await reader.seek_to_beginning(place)
    elif since == "latest":
        await reader.seek_to_end(place)
    elif isinstance(since, dict):
        reader.seek(place, (await reader.offsets_for_times({place: since["time"]}))[place].offset)
    else:
        reader.seek(place, since)


@on_loop
async def seek(request):
    reader = consumer(request)
    await reader.start()
    try:
        place = TopicPartition(request["topic"], 0)
        reader.assign([place])
        reader.seek(place, 0)
        first = await read(reader, 1, WAIT)
        reader.seek(place, request["to"])
        return first + await read(reader, 1, WAIT)
    finally:
        await reader.stop()


@on_loop
async def list_offsets(request):
    reader = consumer(request)
    await reader.start()
    try:
        place = TopicPartition(request["topic"], request.get("partition", 0))
        if request["at"] == "earliest":
            return {"offset": (await reader.beginning_offsets([place]))[place]}
        if request["at"] == "latest":
            return {"offset": (await reader.end_offsets([place]))[place]}
        found = (await reader.offsets_for_times({place: request["at"]}))[place]
        return {"offset": found.offset, "timestamp": found.timestamp}
    finally:
        await reader.stop()


@on_loop
async def metadata(request):
    async with Admin(request) as client:
        cluster = await client.describe_cluster()
        topics = await client.describe_topics([request["topic"]] if request.get("topic") else None)
    return {"cluster": cluster.get("cluster_id"), "controller": cluster["controller_id"],
            "topics": {t["topic"]: {"partitions": [
                {"id": p["partition"], "leader": p["leader"], "replicas": p["replicas"], "isrs": p["isr"]}
                for p in sorted(t["partitions"], key=lambda p: p["partition"])]} for t in topics},
            "brokers": [{"id": b["node_id"], "host": b["host"], "port": b["port"]} for b in cluster["brokers"]]}


@on_loop
async def create_topic(request):
    topic = NewTopic(request["topic"], request.get("partitions", 1), request.get("replication", 1),
                     topic_configs=request.get("config", {}))
    async with Admin(request) as client:
        check(await client.create_topics([topic]))


@on_loop
async def delete_topic(request):
    async with Admin(request) as client:
        check(await client.delete_topics([request["topic"]]))


@on_loop
async def create_partitions(request):
    async with Admin(request) as client:
        check(await client.create_partitions({request["topic"]: NewPartitions(request["partitions"])}))


@on_loop
async def describe_configs(request):
    async with Admin(request) as client:
        told = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, request["topic"])])
    return {entry[0]: {"value": entry[1]} for response in told for r in response.resources for entry in r[4]}


@on_loop
async def alter_configs(request):
    async with Admin(request) as client:
        told = await client.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, request["topic"], configs=request["set"])])
    for response in told:
        for r in response.resources:
            if r[0]:
                raise aiokafka.errors.for_code(r[0])(str(r))


@on_loop
async def delete_records(request):
    place = TopicPartition(request["topic"], request.get("partition", 0))
    async with Admin(request) as client:
        return (await client.delete_records({place: RecordsToDelete(before_offset=request["before"])}))[place]


@on_loop
async def commit(request):
    reader = consumer(request)
    await reader.start()
    try:
        place = TopicPartition(request["topic"], request.get("partition", 0))
        reader.assign([place])
        await reader.commit({place: OffsetAndMetadata(request["offset"], request.get("metadata") or "")})
    finally:
        await reader.stop()


@on_loop
async def committed(request):
    async with Admin(request) as client:
        told = await client.list_consumer_group_offsets(request["group"])
    found = told.get(TopicPartition(request["topic"], request.get("partition", 0)))
    return {"offset": found.offset if found else None, "metadata": found.metadata if found else None}


@on_loop
async def list_groups(request):
    async with Admin(request) as client:
        return {entry[0]: "listed" for entry in await client.list_consumer_groups()}


class Member(ConsumerRebalanceListener):
    """One group member: a task that polls and remembers what it was given and what it read."""

    def __init__(self, request):
        self.request, self.ending, self.error = request, False, None
        self.assigned, self.records, self.rebalances = [], [], 0
        more = {"auto_offset_reset": "earliest", "client_id": request["name"], "heartbeat_interval_ms": 300,
                "session_timeout_ms": request.get("session", 10000), "group_instance_id": request.get("instance")}
        if request.get("strategy") == "roundrobin":
            more["partition_assignment_strategy"] = [RoundRobinPartitionAssignor]
        self.consumer = consumer(request, **more)
        self.consumer.subscribe([request["topic"]], listener=self)
        self.task = asyncio.ensure_future(self.run())

    async def on_partitions_assigned(self, assigned):
        self.rebalances += 1
        self.assigned = sorted(p.partition for p in assigned)

    async def on_partitions_revoked(self, revoked):
        self.assigned = []

    async def run(self):
        try:
            await self.consumer.start()
            while not self.ending:
                batches = await self.consumer.getmany(timeout_ms=100)
                for batch in batches.values():
                    self.records.extend([r.partition, r.offset, encode(r.value)] for r in batch)
                if batches and self.request.get("commit", True):
                    await self.consumer.commit()
        except Exception as error:  # shown by `member_state`
            self.error = repr(error)
        await self.consumer.stop()


@on_loop
async def member_start(request):
    MEMBERS[request["name"]] = Member(request)


def member_state(request):
    member = MEMBERS[request["name"]]
    return {"assigned": member.assigned, "records": list(member.records), "error": member.error,
            "rebalances": member.rebalances}


@on_loop
async def member_stop(request):
    member = MEMBERS.pop(request["name"])
    member.ending = True
    await asyncio.wait_for(member.task, WAIT)
