"""HTTP/2 and gRPC by hand, so that they can be spoken wrongly. Standard library only."""

import socket
import ssl
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 1, 1, 4

GENERATE = "/octet.v1.Generation/Generate"
GENERATE_STREAM = "/octet.v1.Generation/GenerateStream"
TOKENIZE = "/octet.v1.Generation/Tokenize"
ABORT = "/octet.v1.Generation/Abort"
WATCH = "/grpc.health.v1.Health/Watch"


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def varint(value):
    out = b""
    while value >= 128:
        out += bytes([value % 128 + 128])
        value //= 128
    return out + bytes([value])


def prefixed(text):
    """A string of HPACK, not compressed."""
    size = len(text)
    return (bytes([size]) if size < 127 else b"\x7f" + varint(size - 127)) + text


def field(name, value):
    return b"\x00" + prefixed(name.encode()) + prefixed(value if isinstance(value, bytes) else value.encode())


def block(path, key=None, extra=()):
    fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "octet"), ("te", "trailers"),
              ("content-type", "application/grpc")]
    if key:
        fields.append(("authorization", "Bearer " + key))
    return b"".join(field(name, value) for name, value in fields + list(extra))


def message(payload, compressed=False, size=None):
    return bytes([compressed]) + struct.pack(">I", len(payload) if size is None else size) + payload


def proto(number, value):
    """A field of a message: bytes, or an unsigned number."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def proto_fields(data):
    """Field by field: its number and its bytes or number."""
    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
    at = 0
    while at < len(data):
        tag = number()
        if tag & 7 == 0:
            yield tag >> 3, number()
            continue
        size = {1: 8, 5: 4}.get(tag & 7) or number()
        yield tag >> 3, data[at:at + size]
        at += size


def generate_request(text, tokens, request_id=b""):
    """Greedy, exactly so many tokens."""
    request = proto(1, request_id) if request_id else b""
    return request + proto(3, text) + proto(7, b"\x0d\0\0\0\0") + proto(8, proto(1, tokens) + proto(6, 1))


class Connection:
    """A connection on which anything can be sent; nothing is read unless it is asked for."""

    def __init__(self, address, tls=False, greet=True, timeout=20, source="127.0.0.1"):
        self.socket = socket.create_connection(address, timeout=timeout, source_address=(source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_alpn_protocols(["h2"])
            self.socket = context.wrap_socket(self.socket)
        self.next = 1
        self.inbox = b""
        if greet:
            self.send(PREFACE + frame(SETTINGS) + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        self.socket.sendall(data)

    def close(self):
        try:
            self.socket.close()
        except OSError:
            pass

    def open(self, path, key=None, end=False, extra=()):
        """The id of a new stream."""
        stream = self.next
        self.next += 2
        self.send(frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block(path, key, extra)))
        return stream

    def send_data(self, stream, data, end=False):
        for at in range(0, len(data) or 1, 16384):
            last = at + 16384 >= len(data)
            self.send(frame(DATA, END_STREAM if end and last else 0, stream, data[at:at + 16384]))

    def read_frame(self):
        while True:
            if len(self.inbox) >= 9:
                size = 9 + int.from_bytes(self.inbox[:3], "big")
                if len(self.inbox) >= size:
                    whole, self.inbox = self.inbox[:size], self.inbox[size:]
                    return whole[3], whole[4], int.from_bytes(whole[5:9], "big"), whole[9:]
            more = self.socket.recv(65536)
            if not more:
                raise ConnectionError("closed")
            self.inbox += more

    def call(self, path, request, key=None):
        """The messages of the answer, whatever its status; `last_frame` is what ended it."""
        stream = self.open(path, key)
        self.send_data(stream, message(request), end=True)
        data = b""
        while True:
            kind, flags, of, payload = self.read_frame()
            if kind == SETTINGS and not flags & ACK:
                self.send(frame(SETTINGS, ACK))
            elif kind == PING and not flags & ACK:
                self.send(frame(PING, ACK, 0, payload))
            elif kind == GOAWAY:
                raise ConnectionError("GOAWAY")
            elif of == stream:
                data += payload if kind == DATA else b""
                if kind == RST_STREAM or (kind in (DATA, HEADERS) and flags & END_STREAM):
                    self.last_frame = (kind, payload)
                    break
        messages = []
        while len(data) >= 5:
            size = int.from_bytes(data[1:5], "big")
            messages.append(data[5:5 + size])
            data = data[5 + size:]
        return messages
