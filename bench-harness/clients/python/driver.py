"""Runs Kafka operations through Python's stock clients, one JSON request a line on stdin, one JSON answer a line on stdout.

A request is {"id", "client", "op", ...}; an answer {"id", "ok": RESULT} or {"id", "error": {"type", "text", "code"}}.
Requests run side by side, each on a thread of its own. This file knows no Kafka: the clients are in the files beside it.
"""

import importlib
import json
import os
import sys
import threading
import traceback

MODULES = {"confluent": "with_confluent", "kafka-python": "with_kafka_python", "aiokafka": "with_aiokafka",
           "history": "with_history"}


def main():
    # Clients may print: what they print must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    writing = threading.Lock()

    def answer(request):
        reply = {"id": request["id"]}
        try:
            module = importlib.import_module(MODULES[request["client"]])
            reply["ok"] = getattr(module, request["op"])(request)
        except BaseException as error:  # noqa: B902 - whatever it is, the test is told
            traceback.print_exc()
            reply["error"] = {"type": type(error).__name__, "text": str(error), "code": code_of(error)}
        line = json.dumps(reply)
        with writing:
            answers.write(line + "\n")

    for line in sys.stdin:
        threading.Thread(target=answer, args=(json.loads(line),), daemon=True).start()
    os._exit(0)


def code_of(error):
    """Kafka's error code, where the client's exception carries one."""
    inner = error.args[0] if error.args else None
    if hasattr(inner, "code") and callable(inner.code):
        return inner.code()
    return getattr(error, "errno", None)


if __name__ == "__main__":
    main()
