import com.fasterxml.jackson.databind.JsonNode;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.common.utils.Exit;

/**
 * Kafka's own command-line tools, called by their main classes in this process: one at a time, as they own standard input and output
 * while they run, each on a thread of its own that an exit ends.
 */
final class Tools {
    private Tools() {}

    /** What a tool's exit becomes, so that the process goes on. */
    private static final class Exited extends Error {
        private final int status;

        Exited(int status) {
            super("exit " + status, null, false, false);
            this.status = status;
        }
    }

    static Object run(JsonNode request) throws Exception {
        String[] args = Driver.JSON.convertValue(request.get("args"), String[].class);
        return request.path("process").asBoolean(false) ? apart(request, args) : here(request, args);
    }

    /** A process of its own, for a tool that does its last work in a hook of the runtime's end. */
    private static Object apart(JsonNode request, String[] args) throws Exception {
        List<String> command = new ArrayList<>(List.of("java", "-XX:TieredStopAtLevel=1", "-Xmx128m", "-cp",
                System.getProperty("java.class.path"), request.get("class").asText()));
        command.addAll(List.of(args));
        Process process = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start();
        String out = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        return Map.of("status", process.waitFor(), "out", out, "err", "");
    }

    private static synchronized Object here(JsonNode request, String[] args) throws Exception {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        ByteArrayOutputStream err = new ByteArrayOutputStream();
        PrintStream oldOut = System.out;
        PrintStream oldErr = System.err;
        InputStream oldIn = System.in;
        AtomicReference<Integer> status = new AtomicReference<>();
        Exit.setExitProcedure((code, message) -> {
            // A tool may exit from a thread of its own (a shutdown): the first status counts.
            status.compareAndSet(null, code);
            throw new Exited(code);
        });
        Exit.setHaltProcedure((code, message) -> {
            status.compareAndSet(null, code);
            throw new Exited(code);
        });
        Exit.setShutdownHookAdder((name, action) -> { });
        System.setOut(new PrintStream(out, true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(err, true, StandardCharsets.UTF_8));
        System.setIn(new ByteArrayInputStream(Clients.text(request, "stdin", "").getBytes(StandardCharsets.UTF_8)));
        try {
            Thread thread = new Thread(() -> call(request.get("class").asText(), args, status, err));
            thread.setDaemon(true);
            thread.start();
            thread.join(Clients.number(request, "timeout", 60) * 1000L);
            if (thread.isAlive()) {
                // The tools wait in calls that an interrupt ends.
                thread.interrupt();
                thread.join(5000);
                status.compareAndSet(null, -1);
            }
        } finally {
            System.setOut(oldOut);
            System.setErr(oldErr);
            System.setIn(oldIn);
            Exit.resetExitProcedure();
            Exit.resetHaltProcedure();
            Exit.resetShutdownHookAdder();
        }
        return Map.of("status", status.get(), "out", out.toString(StandardCharsets.UTF_8), "err", err.toString(StandardCharsets.UTF_8));
    }

    private static void call(String name, String[] args, AtomicReference<Integer> status, ByteArrayOutputStream err) {
        try {
            Method main = Class.forName(name).getMethod("main", String[].class);
            main.invoke(null, (Object) args);
            status.compareAndSet(null, 0);
        } catch (InvocationTargetException thrown) {
            if (thrown.getCause() instanceof Exited exited) {
                status.compareAndSet(null, exited.status);
                return;
            }
            thrown.getCause().printStackTrace(new PrintStream(err, true, StandardCharsets.UTF_8));
            status.compareAndSet(null, 1);
        } catch (ReflectiveOperationException thrown) {
            thrown.printStackTrace(new PrintStream(err, true, StandardCharsets.UTF_8));
            status.compareAndSet(null, 2);
        }
    }
}
