"""Bytes as JSON: null, text, {"hex"} for what is not UTF-8, {"size", "seed"} for long repeating patterns."""

LONGEST = 1024


def pattern(size, seed):
    block = bytes((i * 7 + seed) & 255 for i in range(256))
    return (block * (size // 256 + 1))[:size]


def decode(value):
    if value is None:
        return None
    if isinstance(value, str):
        return value.encode()
    if "hex" in value:
        return bytes.fromhex(value["hex"])
    return pattern(value["size"], value["seed"])


def encode(data):
    if data is None:
        return None
    data = bytes(data)
    if len(data) > LONGEST:
        good = data == pattern(len(data), data[0])
        return {"size": len(data), "seed": data[0]} if good else {"size": len(data), "damaged": True}
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"hex": data.hex()}


def headers_in(record):
    return [(name, decode(value)) for name, value in record.get("headers", [])]


def headers_out(headers):
    return [[name, encode(value)] for name, value in headers or []]
