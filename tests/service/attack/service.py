"""A service under attack, and an honest client of it."""

import multiprocessing
import os
import resource
import socket
import subprocess
import tempfile
import threading
import time

from h2 import GENERATE_STREAM, Connection, generate_request, proto_fields

KEY = "correct horse"
PROMPT, TOKENS = b"The lighthouse", 8


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class MemoryGroup:
    """A control group of this host, of so many bytes; none where one cannot be made."""

    def __init__(self, size):
        unified = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
        root = "/sys/fs/cgroup" if unified else "/sys/fs/cgroup/memory"
        self.folder = "%s/octet-attack-%d-%d" % (root, os.getpid(), time.monotonic_ns())
        try:
            os.mkdir(self.folder)
            with open(self.folder + ("/memory.max" if unified else "/memory.limit_in_bytes"), "w") as file:
                file.write(str(size))
        except OSError as error:
            print("no memory control group: %s" % error, flush=True)
            self.folder = None

    def join(self):
        if self.folder:
            with open(self.folder + "/cgroup.procs", "w") as file:
                file.write("0")

    def remove(self):
        if self.folder:
            os.rmdir(self.folder)


class Service:
    """`octet serve`, alone or as a job, on ports of its own."""

    def __init__(self, binary, run_flags=None, descriptors=None, tls=False, memory=None):
        self.folder = tempfile.TemporaryDirectory()
        path = lambda name: os.path.join(self.folder.name, name)
        with open(path("key"), "w") as file:
            file.write(KEY + "\n")
        os.chmod(path("key"), 0o600)
        self.address = ("127.0.0.1", free_port())
        self.metrics = ("127.0.0.1", free_port())
        self.tls = tls
        words = [binary] + (["run", *run_flags, "--"] if run_flags else [])
        words += ["serve", "--listen", "127.0.0.1:%d" % self.address[1], "--metrics-listen",
                  "127.0.0.1:%d" % self.metrics[1], "--max-context", "4096", "--max-batch", "16", "--kv-cache", "64M",
                  "--api-key-file", path("key")]
        if tls:
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                            "-days", "2", "-subj", "/CN=localhost", "-keyout", path("tls.key"), "-out",
                            path("tls.pem")], check=True, stderr=subprocess.DEVNULL)
            words += ["--tls-cert", path("tls.pem"), "--tls-key", path("tls.key")]
        self.group = MemoryGroup(memory) if memory else None

        def limit():
            if descriptors:
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
            if self.group:
                self.group.join()

        self.lines, self.ready = [], threading.Event()
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True, errors="replace", preexec_fn=limit)
        threading.Thread(target=self._read, daemon=True).start()
        if not self.ready.wait(120) or not self.alive():
            raise RuntimeError("not ready: " + "".join(self.lines[-5:]))

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line)
            if "ready: serving" in line:
                self.ready.set()
        self.process.wait()
        self.ready.set()  # it never will be: the process has ended

    def alive(self):
        return self.process.poll() is None

    def status(self, name):
        """Of /proc/PID/status, in bytes; 0 once it has ended."""
        try:
            with open("/proc/%d/status" % self.process.pid) as file:
                return next(int(line.split()[1]) << 10 for line in file if line.startswith(name + ":"))
        except (OSError, StopIteration):
            return 0

    def seconds(self):
        """The processor's time that it has taken."""
        try:
            with open("/proc/%d/stat" % self.process.pid) as file:
                words = file.read().rsplit(")", 1)[1].split()
            return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
        except OSError:
            return 0

    def forget_peak(self):
        with open("/proc/%d/clear_refs" % self.process.pid, "w") as file:
            file.write("5")

    def stop(self):
        if self.alive():
            self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.group:
            self.group.remove()
        self.folder.cleanup()


def ask(connection):
    """The text of an answer."""
    text = b""
    for chunk in connection.call(GENERATE_STREAM, generate_request(PROMPT, TOKENS), KEY):
        text += b"".join(value for number, value in proto_fields(chunk) if number == 3)
    return text


def _be_honest(address, tls, expected, stop, results):
    connection = None
    while not stop.is_set():
        begin, text, why = time.monotonic(), b"", ""
        try:
            if connection is None or len(results) % 5 == 0:  # clients come and go
                connection = Connection(address, tls, timeout=60)
            text = ask(connection)
        except (OSError, ConnectionError) as error:
            why, connection = str(error), None
        right = text == expected
        if not right and not why:
            why = "other bytes: %r" % text
            connection = None
        results.append((time.monotonic() - begin, right, why))
        time.sleep(0.02)


class Honest:
    """A process that asks again and again, often with a new connection, from its making until stop()."""

    def __init__(self, service, expected):
        self.manager = multiprocessing.Manager()
        self.results, self.stopping = self.manager.list(), self.manager.Event()
        self.process = multiprocessing.Process(target=_be_honest, args=(service.address, service.tls, expected,
                                                                        self.stopping, self.results))
        self.process.start()

    def stop(self):
        """(seconds, whether the bytes were right, why not) of each call; one that never ends counts with its minute."""
        self.stopping.set()
        self.process.join(90)
        if self.process.is_alive():
            self.process.kill()
        results = list(self.results)
        self.manager.shutdown()
        return results


def p99(results):
    times = sorted(seconds for seconds, _, _ in results)
    return times[min(len(times) - 1, int(len(times) * 0.99))] if times else float("inf")
