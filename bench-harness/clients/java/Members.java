import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.kafka.clients.consumer.CloseOptions;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.common.TopicPartition;

/** Group members of the Java client: each polls on its own thread and remembers what it was given and what it read. */
final class Members {
    private static final Map<String, Member> MEMBERS = new ConcurrentHashMap<>();

    private Members() {}

    static Object run(String op, JsonNode r) throws Exception {
        String name = r.get("name").asText();
        switch (op) {
            case "member_start" -> {
                Member member = new Member(r);
                MEMBERS.put(name, member);
                member.start();
                return null;
            }
            case "member_state" -> { return MEMBERS.get(name).state(); }
            case "member_stop" -> {
                Member member = MEMBERS.remove(name);
                member.leave = r.path("leave").asBoolean(true);
                member.ending = true;
                member.join(30_000);
                return null;
            }
            default -> throw new IllegalArgumentException(op);
        }
    }

    private static final class Member extends Thread implements ConsumerRebalanceListener {
        private final KafkaConsumer<byte[], byte[]> consumer;
        private final boolean commits;
        private final List<Object> records = new ArrayList<>();
        private final TreeSet<Integer> assigned = new TreeSet<>();
        private int rebalances;
        private int revoked;
        private String error;
        private volatile boolean ending;
        private volatile boolean leave = true;

        Member(JsonNode r) {
            setDaemon(true);
            Map<String, Object> more = new HashMap<>();
            more.put("auto.offset.reset", "earliest");
            more.put("client.id", r.get("name").asText());
            more.put("session.timeout.ms", Clients.number(r, "session", 10_000));
            more.put("heartbeat.interval.ms", 300);
            boolean cooperative = Clients.text(r, "strategy", "range").contains("cooperative");
            Class<?> assignor = cooperative ? CooperativeStickyAssignor.class : RangeAssignor.class;
            more.put("partition.assignment.strategy", assignor.getName());
            if (r.hasNonNull("instance")) {
                more.put("group.instance.id", r.get("instance").asText());
            }
            commits = r.path("commit").asBoolean(true);
            consumer = Clients.consumer(r, more);
            consumer.subscribe(List.of(r.get("topic").asText()), this);
        }

        @Override
        public void run() {
            try {
                while (!ending) {
                    var batch = consumer.poll(Duration.ofMillis(100));
                    synchronized (this) {
                        for (ConsumerRecord<byte[], byte[]> record : batch) {
                            records.add(Arrays.asList(record.partition(), record.offset(), Values.encode(record.value())));
                        }
                    }
                    if (commits && !batch.isEmpty()) {
                        consumer.commitSync();
                    }
                }
            } catch (Exception thrown) {
                synchronized (this) {
                    error = thrown.toString();
                }
            }
            var way = leave ? CloseOptions.GroupMembershipOperation.DEFAULT
                    : CloseOptions.GroupMembershipOperation.REMAIN_IN_GROUP;
            consumer.close(CloseOptions.groupMembershipOperation(way));
        }

        @Override
        public synchronized void onPartitionsAssigned(Collection<TopicPartition> places) {
            places.forEach(place -> assigned.add(place.partition()));
            rebalances++;
        }

        @Override
        public synchronized void onPartitionsRevoked(Collection<TopicPartition> places) {
            places.forEach(place -> assigned.remove(place.partition()));
            revoked += places.size();
        }

        synchronized Object state() {
            Map<String, Object> told = new HashMap<>();
            told.put("assigned", new ArrayList<>(assigned));
            told.put("records", new ArrayList<>(records));
            told.put("error", error);
            told.put("rebalances", rebalances);
            told.put("revoked", revoked);
            return told;
        }
    }
}
