import com.fasterxml.jackson.databind.JsonNode;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.header.Header;

/** Bytes as JSON: null, text, {hex} for what is not UTF-8, {size, seed} for long repeating patterns. */
final class Values {
    private static final int LONGEST = 1024;

    private Values() {}

    static byte[] pattern(int size, int seed) {
        byte[] data = new byte[size];
        for (int i = 0; i < size; i++) {
            data[i] = (byte) ((i & 255) * 7 + seed);
        }
        return data;
    }

    static byte[] decode(JsonNode value) {
        if (value == null || value.isNull()) {
            return null;
        }
        if (value.isTextual()) {
            return value.asText().getBytes(StandardCharsets.UTF_8);
        }
        if (value.has("hex")) {
            return HexFormat.of().parseHex(value.get("hex").asText());
        }
        return pattern(value.get("size").asInt(), value.get("seed").asInt());
    }

    static Object encode(byte[] data) {
        if (data == null) {
            return null;
        }
        if (data.length > LONGEST) {
            boolean good = Arrays.equals(data, pattern(data.length, data[0] & 255));
            return good ? Map.of("size", data.length, "seed", data[0] & 255) : Map.of("size", data.length, "damaged", true);
        }
        try {
            return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(data)).toString();
        } catch (CharacterCodingException notText) {
            return Map.of("hex", HexFormat.of().formatHex(data));
        }
    }

    static Map<String, Object> record(ConsumerRecord<byte[], byte[]> record) {
        List<Object> headers = new ArrayList<>();
        for (Header header : record.headers()) {
            headers.add(Arrays.asList(header.key(), encode(header.value())));
        }
        Map<String, Object> told = new LinkedHashMap<>();
        told.put("partition", record.partition());
        told.put("offset", record.offset());
        told.put("timestamp", record.timestamp());
        told.put("timestamp_type", record.timestampType().id + 1);
        told.put("key", encode(record.key()));
        told.put("value", encode(record.value()));
        told.put("headers", headers);
        return told;
    }
}
