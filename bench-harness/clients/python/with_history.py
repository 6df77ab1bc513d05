"""A workload of stock clients (librdkafka) that writes down what it asks and what it is told, as a history for the referee.

Idempotent producers and one without, a reader, a committer, and one who asks for offsets, each on a thread of its own. `begin`
starts them, `tell` adds an event from outside, `progress` says how far they are, `finish` ends them and reads everything back.
What a client was not told is written as such. Producers never give up while the run lasts, so a message is one call.
"""

import itertools
import json
import random
import threading
import time
import zlib

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

RUNS = {}
# Messages that a producer has on the way at once.
IN_FLIGHT = 200
WAIT = 20
PATIENCE = 90


class Run:
    def __init__(self, request):
        self.request, self.topic, self.partitions = request, request["topic"], request["partitions"]
        self.file = open(request["path"], "w", buffering=1 << 16)
        self.begun, self.lock = time.monotonic(), threading.Lock()
        self.ops, self.values = itertools.count(1), itertools.count(1)
        self.ending, self.acknowledged, self.read, self.errors = threading.Event(), 0, 0, []
        self.threads = []

    def write(self, event):
        with self.lock:
            event["at"] = int((time.monotonic() - self.begun) * 1e6)
            self.file.write(json.dumps(event) + "\n")

    def call(self, client, call):
        op = next(self.ops)
        self.write({"event": "call", "op": op, "client": client, "call": call})
        return op

    def end(self, op, outcome):
        self.write({"event": "return", "op": op, "outcome": outcome})

    def ask(self, client, call, action):
        """Calls, and writes down what `action` returns; an error leaves it open whether it was done."""
        op = self.call(client, call)
        try:
            self.end(op, action())
        except KafkaException as error:
            self.end(op, {"outcome": "unknown", "why": str(error)})

    def partition(self, number):
        return {"topic": self.topic, "incarnation": 0, "partition": number}

    def settings(self, **more):
        return {"bootstrap.servers": self.request["bootstrap"], "reconnect.backoff.ms": 20,
                "reconnect.backoff.max.ms": 200, "socket.timeout.ms": 10000, **more}

    def consumer(self, **more):
        return Consumer(self.settings(**{"group.id": "history", "enable.auto.commit": False, "auto.offset.reset": "error",
                                         "fetch.wait.max.ms": 50, "retry.backoff.ms": 20, **more}))

    def start(self, action, *args):
        def guarded():
            try:
                action(*args)
            except Exception as error:  # shown by `progress`
                self.errors.append(f"{action.__name__}: {error!r}")
        thread = threading.Thread(target=guarded, daemon=True)
        self.threads.append(thread)
        thread.start()


def value_of(number):
    """Readable, with a checksum, and of varying length."""
    text = f"{number} {zlib.crc32(str(number).encode()):08x} "
    return (text + "." * (number * 37 % 400)).encode()


def read_value(data):
    try:
        number = int(data.split(b" ", 1)[0])
    except (AttributeError, ValueError):
        return None
    return number if value_of(number) == data else None


def producer(run, client, idempotent):
    settings = {"acks": "all" if idempotent else "1", "enable.idempotence": idempotent, "linger.ms": 2,
                "message.timeout.ms": 0, "retry.backoff.ms": 20, "retry.backoff.max.ms": 200}
    if not idempotent:
        settings["message.timeout.ms"] = 1000
    mine, choice = Producer(run.settings(**settings)), random.Random(client)
    waiting, sequences = set(), [0] * run.partitions

    def send():
        number, where, now = next(run.values), choice.randrange(run.partitions), int(time.time() * 1000)
        by = {"producer_id": client, "epoch": 0, "sequence": sequences[where]} if idempotent else None
        sequences[where] += 1
        op = run.call(client, {"call": "produce", "to": run.partition(where), "acks": -1 if idempotent else 1,
                               "records": [{"value": number, "timestamp": now, "key": None}], "idempotent": by,
                               "transaction": None})
        waiting.add(op)

        def delivered(error, message):
            waiting.discard(op)
            if error is not None:
                # Whatever it is: an attempt before it may have arrived.
                run.end(op, {"outcome": "unknown", "why": str(error)})
                return
            run.end(op, {"outcome": "produced", "base_offset": message.offset(), "log_append_time": None})
            run.acknowledged += 1

        mine.produce(run.topic, value=value_of(number), partition=where, timestamp=now, on_delivery=delivered)

    while not run.ending.is_set():
        if len(waiting) < IN_FLIGHT:
            send()
            mine.poll(0)
        else:
            mine.poll(0.05)
    left = mine.flush(PATIENCE)
    if left:
        raise TimeoutError(f"{left} messages are still on the way")


def fetched(run, client, start, messages, high=-1):
    """What one poll brought of a partition, as one fetch; its call was made when `start` was known."""
    op, offset, number = start
    records = [{"offset": m.offset(), "value": read_value(m.value()), "timestamp": m.timestamp()[1],
                "leader_epoch": -1 if m.leader_epoch() is None else m.leader_epoch()} for m in messages]
    following = records[-1]["offset"] + 1 if records else offset
    run.end(op, {"outcome": "fetched", "high_watermark": high, "log_start": -1, "last_stable": -1,
                 "records": records, "next": following})
    run.read += len(records)
    return following


def fetch_call(run, client, number, offset):
    return run.call(client, {"call": "fetch", "from": run.partition(number), "offset": offset,
                             "isolation": "uncommitted"}), offset, number


def read_on(run, client, mine, positions, wanted=500):
    """One poll of all partitions. Messages that were fetched before it was called are older than it: the call is the last time that
    the partition's reader had nothing."""
    messages = mine.consume(wanted, 0.1)
    by_partition = {}
    for message in messages:
        if message.error():
            if message.error().code() == KafkaError.OFFSET_OUT_OF_RANGE:
                raise KafkaException(message.error())
            continue
        by_partition.setdefault(message.partition(), []).append(message)
    return by_partition


def reader(run, client):
    mine = run.consumer()
    positions = {p: fetch_call(run, client, p, 0) for p in range(run.partitions)}
    mine.assign([TopicPartition(run.topic, p, 0) for p in positions])
    while not run.ending.is_set():
        for number, messages in read_on(run, client, mine, positions).items():
            following = fetched(run, client, positions[number], messages)
            positions[number] = fetch_call(run, client, number, following)
    mine.close()


def committer(run, client):
    mine, offset = run.consumer(), 0
    place = run.partition(0)
    while not run.ending.is_set():
        offset += 1

        def commit():
            mine.commit(offsets=[TopicPartition(run.topic, 0, offset)], asynchronous=False)
            return {"outcome": "done"}

        run.ask(client, {"call": "commit", "group": "history", "by": {"member": "", "generation": -1},
                         "offsets": [[place, offset]], "transaction": None}, commit)
        committed(run, client, mine)
    mine.close()


def committed(run, client, mine):
    def ask():
        told = mine.committed([TopicPartition(run.topic, 0)], timeout=WAIT)[0]
        if told.error is not None:
            raise KafkaException(told.error)
        return {"outcome": "offsets", "offsets": [[run.partition(0), max(told.offset, -1)]]}

    run.ask(client, {"call": "committed", "group": "history", "of": [run.partition(0)]}, ask)


def listed(run, client, number, spec, action):
    def ask():
        return {"outcome": "offset", "offset": action(), "timestamp": -1}

    run.ask(client, {"call": "list-offsets", "from": run.partition(number), "spec": spec, "isolation": "uncommitted"}, ask)


def asker(run, client):
    mine, choice = run.consumer(), random.Random(client)
    while not run.ending.is_set():
        place = TopicPartition(run.topic, choice.randrange(run.partitions))
        listed(run, client, place.partition, "latest", lambda: mine.get_watermark_offsets(place, timeout=WAIT)[1])
        listed(run, client, place.partition, "earliest", lambda: mine.get_watermark_offsets(place, timeout=WAIT)[0])
        at = int((time.time() - choice.random() * (time.monotonic() - run.begun)) * 1000)
        lookup(run, client, mine, place, at)
        time.sleep(0.02)
    mine.close()


def lookup(run, client, mine, place, at):
    def ask():
        told = mine.offsets_for_times([TopicPartition(run.topic, place.partition, at)], timeout=WAIT)[0]
        if told.error is not None:
            raise KafkaException(told.error)
        return told.offset

    # librdkafka says -1 (end) where there is none.
    listed(run, client, place.partition, {"at": at}, ask)


def begin(request):
    run = RUNS[request["topic"]] = Run(request)
    admin = AdminClient(run.settings())
    promise = {"flushed": True, "retention_ms": 7 * 86400000, "retention_bytes": None, "compacted": False,
               "log_append_time": False}
    op = run.call(0, {"call": "create-topic", "topic": run.topic, "incarnation": 0, "partitions": run.partitions,
                      "promise": promise})
    made = admin.create_topics([NewTopic(run.topic, run.partitions, 1)], request_timeout=WAIT)
    made[run.topic].result()
    run.end(op, {"outcome": "done"})
    run.write({"event": "clock", "wall": int(time.time() * 1000)})
    for client in range(1, request["idempotent"] + 1):
        run.start(producer, run, client, True)
    run.start(producer, run, 100, False)
    run.start(reader, run, 101)
    run.start(committer, run, 102)
    run.start(asker, run, 103)


def tell(request):
    RUNS[request["topic"]].write(request["event"])


def progress(request):
    run = RUNS[request["topic"]]
    return {"acknowledged": run.acknowledged, "read": run.read, "errors": run.errors}


def finish(request):
    run = RUNS.pop(request["topic"])
    run.ending.set()
    until = time.monotonic() + PATIENCE
    for thread in run.threads:
        thread.join(max(0, until - time.monotonic()))
    if any(thread.is_alive() for thread in run.threads):
        run.errors.append("a client does not end")
    run.write({"event": "final-reads"})
    mine = run.consumer()
    for number in range(run.partitions):
        place = TopicPartition(run.topic, number)
        low, high = mine.get_watermark_offsets(place, timeout=WAIT)
        listed(run, 0, number, "earliest", lambda: low)
        listed(run, 0, number, "latest", lambda: high)
        mine.assign([TopicPartition(run.topic, number, low)])
        start, following = fetch_call(run, 0, number, low), low
        while following < high and time.monotonic() < until:
            for messages in read_on(run, 0, mine, None).values():
                following = fetched(run, 0, start, messages)
                start = fetch_call(run, 0, number, following)
        fetched(run, 0, start, [], high)
        lookup(run, 0, mine, place, int((time.time() - (time.monotonic() - run.begun) / 2) * 1000))
        listed(run, 0, number, "earliest", lambda: mine.get_watermark_offsets(place, timeout=WAIT)[0])
    committed(run, 0, mine)
    mine.close()
    run.file.close()
    return {"acknowledged": run.acknowledged, "read": run.read, "errors": run.errors}
