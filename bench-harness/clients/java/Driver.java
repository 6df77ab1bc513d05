import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.common.errors.ApiException;
import org.apache.kafka.common.protocol.Errors;

/**
 * Runs Kafka operations through the Java client and Kafka's own tools, one JSON request a line on stdin, one JSON answer a line on
 * stdout. A request is {id, op, ...}; an answer {id, ok} or {id, error: {type, text, code}}. Requests run side by side. This class
 * knows no Kafka beyond its error codes: Clients, Members and Tools do.
 */
public final class Driver {
    static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] args) throws Exception {
        PrintStream answers = System.out;
        System.setOut(System.err);
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            JsonNode request = JSON.readTree(line);
            Thread thread = new Thread(() -> {
                String reply = answer(request).toString();
                synchronized (answers) {
                    answers.println(reply);
                    answers.flush();
                }
            });
            thread.setDaemon(true);
            thread.start();
        }
        Runtime.getRuntime().halt(0);
    }

    private static ObjectNode answer(JsonNode request) {
        ObjectNode reply = JSON.createObjectNode();
        reply.set("id", request.get("id"));
        try {
            reply.set("ok", JSON.valueToTree(run(request)));
        } catch (Throwable thrown) {
            thrown.printStackTrace();
            Throwable cause = thrown;
            while (cause instanceof ExecutionException && cause.getCause() != null) {
                cause = cause.getCause();
            }
            ObjectNode error = reply.putObject("error");
            error.put("type", cause.getClass().getSimpleName());
            error.put("text", String.valueOf(cause.getMessage()));
            if (cause instanceof ApiException) {
                error.put("code", Errors.forException(cause).code());
            }
        }
        return reply;
    }

    private static Object run(JsonNode request) throws Exception {
        String op = request.get("op").asText();
        if (op.startsWith("member_")) {
            return Members.run(op, request);
        }
        return op.equals("tool") ? Tools.run(request) : Clients.run(op, request);
    }
}
