import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.DescribeConfigsOptions;
import org.apache.kafka.clients.admin.ListOffsetsResult;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.AppInfoParser;

/** The operations through kafka-clients: producer, consumer without a group, admin client. */
final class Clients {
    private static final long WAIT = 30;

    private Clients() {}

    static Object run(String op, JsonNode r) throws Exception {
        return switch (op) {
            case "about" -> Map.of("version", AppInfoParser.getVersion());
            case "produce" -> produce(r);
            case "consume" -> consume(r);
            case "seek" -> seek(r);
            case "commit" -> commit(r);
            default -> {
                try (Admin admin = Admin.create(Map.of("bootstrap.servers", text(r, "bootstrap", null)))) {
                    yield admin(op, r, admin);
                }
            }
        };
    }

    static String text(JsonNode r, String name, String otherwise) {
        return r.hasNonNull(name) ? r.get(name).asText() : otherwise;
    }

    static int number(JsonNode r, String name, int otherwise) {
        return r.hasNonNull(name) ? r.get(name).asInt() : otherwise;
    }

    private static TopicPartition place(JsonNode r) {
        return new TopicPartition(text(r, "topic", null), number(r, "partition", 0));
    }

    private static Object produce(JsonNode r) throws Exception {
        int size = number(r, "max_size", 1_000_000);
        Properties p = new Properties();
        p.put("bootstrap.servers", text(r, "bootstrap", null));
        p.put("acks", text(r, "acks", "all"));
        p.put("compression.type", text(r, "compression", "none"));
        p.put("enable.idempotence", String.valueOf(r.path("idempotence").asBoolean(false)));
        p.put("max.request.size", size + 1024);
        p.put("linger.ms", number(r, "linger_ms", 5));
        List<Map<String, Object>> told = new ArrayList<>();
        try (var producer = new KafkaProducer<>(p, new ByteArraySerializer(), new ByteArraySerializer())) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (JsonNode given : r.get("records")) {
                Integer partition = given.hasNonNull("partition") ? given.get("partition").asInt() : null;
                Long timestamp = given.hasNonNull("timestamp") ? given.get("timestamp").asLong() : null;
                var record = new ProducerRecord<>(text(r, "topic", null), partition, timestamp,
                        Values.decode(given.get("key")), Values.decode(given.get("value")));
                for (JsonNode header : given.path("headers")) {
                    record.headers().add(header.get(0).asText(), Values.decode(header.get(1)));
                }
                sent.add(producer.send(record));
            }
            producer.flush();
            for (Future<RecordMetadata> future : sent) {
                RecordMetadata done = future.get(WAIT, TimeUnit.SECONDS);
                told.add(Map.of("partition", done.partition(), "offset", done.hasOffset() ? done.offset() : -1));
            }
        }
        return told;
    }

    static KafkaConsumer<byte[], byte[]> consumer(JsonNode r, Map<String, Object> more) {
        Map<String, Object> p = new HashMap<>();
        p.put("bootstrap.servers", text(r, "bootstrap", null));
        if (r.hasNonNull("group")) {
            p.put("group.id", text(r, "group", null));
        }
        p.put("enable.auto.commit", "false");
        p.put("auto.offset.reset", "none");
        p.put("fetch.max.wait.ms", 100);
        p.put("max.partition.fetch.bytes", number(r, "max_size", 1 << 20));
        p.putAll(more);
        return new KafkaConsumer<>(p, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private static Object consume(JsonNode r) {
        try (var consumer = consumer(r, Map.of())) {
            List<TopicPartition> places = new ArrayList<>();
            r.get("partitions").forEach(n -> places.add(new TopicPartition(text(r, "topic", null), n.asInt())));
            consumer.assign(places);
            places.forEach(place -> goTo(consumer, place, r.get("from")));
            return read(consumer, r.get("count").asInt(), number(r, "timeout", (int) WAIT));
        }
    }

    private static void goTo(KafkaConsumer<byte[], byte[]> consumer, TopicPartition place, JsonNode from) {
        if (from == null || from.asText().equals("earliest")) {
            consumer.seekToBeginning(List.of(place));
        } else if (from.asText().equals("latest")) {
            consumer.seekToEnd(List.of(place));
        } else if (from.isObject()) {
            consumer.seek(place, consumer.offsetsForTimes(Map.of(place, from.get("time").asLong())).get(place).offset());
        } else {
            consumer.seek(place, from.asLong());
        }
    }

    private static List<Object> read(KafkaConsumer<byte[], byte[]> consumer, int count, int seconds) {
        List<Object> records = new ArrayList<>();
        long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
        while (records.size() < count && System.nanoTime() < until) {
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                if (records.size() < count) {
                    records.add(Values.record(record));
                }
            }
        }
        return records;
    }

    private static Object seek(JsonNode r) {
        try (var consumer = consumer(r, Map.of("max.poll.records", 1))) {
            consumer.assign(List.of(place(r)));
            consumer.seek(place(r), 0);
            List<Object> records = read(consumer, 1, (int) WAIT);
            consumer.seek(place(r), r.get("to").asLong());
            records.addAll(read(consumer, 1, (int) WAIT));
            return records;
        }
    }

    private static Object commit(JsonNode r) {
        try (var consumer = consumer(r, Map.of())) {
            consumer.assign(List.of(place(r)));
            consumer.commitSync(Map.of(place(r), new OffsetAndMetadata(r.get("offset").asLong(), text(r, "metadata", ""))));
            return null;
        }
    }

    private static Object admin(String op, JsonNode r, Admin admin) throws Exception {
        String topic = text(r, "topic", null);
        String group = text(r, "group", null);
        switch (op) {
            case "create_topic" -> {
                Map<String, String> config = new HashMap<>();
                r.path("config").fields().forEachRemaining(e -> config.put(e.getKey(), e.getValue().asText()));
                var wanted = new NewTopic(topic, number(r, "partitions", 1), (short) number(r, "replication", 1));
                return wait(admin.createTopics(List.of(wanted.configs(config))).all());
            }
            case "delete_topic" -> { return wait(admin.deleteTopics(List.of(topic)).all()); }
            case "create_partitions" -> {
                return wait(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(number(r, "partitions", 1)))).all());
            }
            case "metadata" -> { return metadata(topic, admin); }
            case "describe_configs" -> { return describeConfigs(resource(r), admin); }
            case "alter_configs" -> {
                List<AlterConfigOp> set = new ArrayList<>();
                r.get("set").fields().forEachRemaining(e -> set.add(new AlterConfigOp(
                        new ConfigEntry(e.getKey(), e.getValue().isNull() ? null : e.getValue().asText()),
                        e.getValue().isNull() ? AlterConfigOp.OpType.DELETE : AlterConfigOp.OpType.SET)));
                Map<ConfigResource, Collection<AlterConfigOp>> wanted = Map.of(resource(r), set);
                return wait(admin.incrementalAlterConfigs(wanted).all());
            }
            case "delete_records" -> {
                var wanted = Map.of(place(r), RecordsToDelete.beforeOffset(r.get("before").asLong()));
                return admin.deleteRecords(wanted).lowWatermarks().get(place(r)).get(WAIT, TimeUnit.SECONDS).lowWatermark();
            }
            case "list_offsets" -> { return listOffsets(r, admin); }
            case "committed" -> {
                var found = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get(WAIT, TimeUnit.SECONDS);
                OffsetAndMetadata at = found.get(place(r));
                Map<String, Object> told = new HashMap<>();
                told.put("offset", at == null ? null : at.offset());
                told.put("metadata", at == null ? null : at.metadata());
                return told;
            }
            case "list_groups" -> {
                return admin.listGroups().all().get(WAIT, TimeUnit.SECONDS).stream().collect(Collectors.toMap(
                        g -> g.groupId(), g -> g.groupState().map(s -> s.toString().toLowerCase()).orElse("")));
            }
            case "describe_group" -> { return describeGroup(group, admin); }
            case "delete_group" -> { return wait(admin.deleteConsumerGroups(List.of(group)).all()); }
            case "delete_group_offset" -> {
                return wait(admin.deleteConsumerGroupOffsets(group, java.util.Set.of(place(r))).all());
            }
            default -> throw new IllegalArgumentException(op);
        }
    }

    private static Object wait(Future<?> future) throws Exception {
        future.get(WAIT, TimeUnit.SECONDS);
        return null;
    }

    private static ConfigResource resource(JsonNode r) {
        return r.has("broker") ? new ConfigResource(ConfigResource.Type.BROKER, r.get("broker").asText())
                : new ConfigResource(ConfigResource.Type.TOPIC, text(r, "topic", null));
    }

    private static Object describeConfigs(ConfigResource resource, Admin admin) throws Exception {
        var options = new DescribeConfigsOptions().includeSynonyms(true);
        Map<String, Object> told = new LinkedHashMap<>();
        for (ConfigEntry e : admin.describeConfigs(List.of(resource), options).all().get(WAIT, TimeUnit.SECONDS).get(resource).entries()) {
            Map<String, Object> entry = new LinkedHashMap<>();
            entry.put("value", e.value());
            entry.put("source", e.source().name());
            entry.put("read_only", e.isReadOnly());
            entry.put("synonyms", e.synonyms().stream().map(s -> s.name() + "=" + s.value() + " " + s.source()).toList());
            told.put(e.name(), entry);
        }
        return told;
    }

    private static Object listOffsets(JsonNode r, Admin admin) throws Exception {
        JsonNode at = r.get("at");
        OffsetSpec spec = switch (at.asText()) {
            case "earliest" -> OffsetSpec.earliest();
            case "latest" -> OffsetSpec.latest();
            case "max_timestamp" -> OffsetSpec.maxTimestamp();
            default -> OffsetSpec.forTimestamp(at.asLong());
        };
        ListOffsetsResult.ListOffsetsResultInfo found =
                admin.listOffsets(Map.of(place(r), spec)).partitionResult(place(r)).get(WAIT, TimeUnit.SECONDS);
        return Map.of("offset", found.offset(), "timestamp", found.timestamp());
    }

    private static Object metadata(String topic, Admin admin) throws Exception {
        var cluster = admin.describeCluster();
        var names = topic == null ? admin.listTopics().names().get(WAIT, TimeUnit.SECONDS) : List.of(topic);
        Map<String, Object> topics = new LinkedHashMap<>();
        admin.describeTopics(names).allTopicNames().get(WAIT, TimeUnit.SECONDS).forEach((name, found) -> topics.put(name, Map.of(
                "id", found.topicId().toString(),
                "partitions", found.partitions().stream().map(p -> Map.of(
                        "id", p.partition(), "leader", p.leader().id(),
                        "replicas", p.replicas().stream().map(n -> n.id()).toList(),
                        "isrs", p.isr().stream().map(n -> n.id()).toList())).toList())));
        return Map.of(
                "cluster", cluster.clusterId().get(), "controller", cluster.controller().get().id(), "topics", topics,
                "brokers", cluster.nodes().get().stream().map(n -> Map.of("id", n.id(), "host", n.host(), "port", n.port())).toList());
    }

    private static Object describeGroup(String group, Admin admin) throws Exception {
        var found = admin.describeConsumerGroups(List.of(group)).describedGroups().get(group).get(WAIT, TimeUnit.SECONDS);
        List<Object> members = new ArrayList<>();
        found.members().forEach(m -> {
            Map<String, Object> member = new LinkedHashMap<>();
            member.put("client", m.clientId());
            member.put("instance", m.groupInstanceId().orElse(null));
            member.put("partitions", m.assignment().topicPartitions().stream().map(TopicPartition::partition).sorted().toList());
            members.add(member);
        });
        return Map.of("state", found.groupState().toString().toLowerCase(), "assignor", found.partitionAssignor(), "members", members);
    }
}
