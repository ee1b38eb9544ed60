#!/usr/bin/python3
"""Asks a running `octet serve` for text and prints it while it comes.

    configs/clients/generate.py --server localhost:50051 "In the beginning"
    configs/clients/generate.py --server localhost:50051 --chat "Who was Solomon?" --temperature 0.7 --seed 1

Needs Debian's python3-grpcio, python3-protobuf and protobuf-compiler: the messages are compiled from octet.proto when
this starts. Exit codes: 0 done, 1 failed, 2 the request or the key is wrong.
"""

import argparse
import importlib
import pathlib
import subprocess
import sys
import tempfile

import grpc

SERVICE = "/octet.v1.Generation/"
HERE = pathlib.Path(__file__).resolve()
# Beside the sources, or where `cmake --install` puts it.
PROTO_FILES = [HERE.parents[2] / "runtime/service/octet.proto", HERE.parents[2] / "octet.proto"]
REQUEST_IS_WRONG = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.UNAUTHENTICATED,
}


def compile_messages(proto):
    """The Python module of the messages in octet.proto."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["protoc", f"--proto_path={proto.parent}", f"--python_out={folder}", proto.name], check=True)
        sys.path.insert(0, folder)
        try:
            return importlib.import_module(proto.stem + "_pb2")
        finally:
            sys.path.remove(folder)


def open_channel(arguments):
    if not arguments.tls_ca:
        return grpc.insecure_channel(arguments.server)
    return grpc.secure_channel(arguments.server, grpc.ssl_channel_credentials(arguments.tls_ca.read_bytes()))


def metadata(arguments):
    if not arguments.api_key_file:
        return []
    host = arguments.server.rsplit(":", 1)[0].strip("[]")
    if not arguments.tls_ca and host not in ("localhost", "127.0.0.1", "::1"):
        print(f"{arguments.server}: the key would go there in clear: --tls-ca encrypts", file=sys.stderr)
        sys.exit(2)
    return [("authorization", "Bearer " + arguments.api_key_file.read_text(encoding="ascii").splitlines()[0].strip())]


def make_request(pb, arguments):
    request = pb.GenerateRequest()
    if arguments.chat:
        request.chat.messages.add(role="user", content=arguments.prompt.encode())
    else:
        request.text = arguments.prompt.encode()
    request.stop.max_new_tokens = arguments.max_tokens
    for name in ("temperature", "top_p", "seed"):  # what is not set, the model's own defaults decide
        value = getattr(arguments, name)
        if value is not None:
            setattr(request.sampling, name, value)
    return request


def explain(error, pb):
    """The lines of an error: its message, and the details that the service sends with it (as google.rpc.Status)."""
    lines = [f"{error.code().name}: {error.details()}"]
    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin":
            continue
        for detail in pb.StatusDetails.FromString(value).details:
            if detail.type_url.endswith("google.rpc.BadRequest"):
                for violation in pb.BadRequest.FromString(detail.value).field_violations:
                    lines.append(f"  field {violation.field}: {violation.description}")
            elif detail.type_url.endswith("google.rpc.RetryInfo"):
                delay = pb.RetryInfo.FromString(detail.value).retry_delay
                lines.append(f"  worth another try in {delay.ToMilliseconds() / 1000:g} s")
    return lines


def generate(pb, channel, arguments):
    stream = channel.unary_stream(
        SERVICE + "GenerateStream",
        request_serializer=pb.GenerateRequest.SerializeToString,
        response_deserializer=pb.GenerateChunk.FromString,
    )
    out = sys.stdout.buffer  # text is cut into bytes, not characters
    for chunk in stream(make_request(pb, arguments), metadata=metadata(arguments), timeout=arguments.timeout):
        out.write(chunk.text)
        out.flush()
        if chunk.finish_reason:
            reason = pb.FinishReason.Name(chunk.finish_reason).removeprefix("FINISH_REASON_").lower()
            print(
                f"\n{reason}: {chunk.usage.completion_tokens} tokens, the first after "
                f"{chunk.timings.time_to_first_token:.3f} s; seed {chunk.seed}",
                file=sys.stderr,
            )


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompt")
    parser.add_argument("--server", default="localhost:50051", metavar="HOST:PORT")
    parser.add_argument("--chat", action="store_true", help="the prompt is a message, to be answered")
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--top-p", type=float)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="of the whole answer")
    parser.add_argument("--tls-ca", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--api-key-file", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--proto", type=pathlib.Path, metavar="FILE", help="octet.proto, if it is elsewhere")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    proto = arguments.proto or next((path for path in PROTO_FILES if path.exists()), PROTO_FILES[0])
    pb = compile_messages(proto)
    try:
        with open_channel(arguments) as channel:
            generate(pb, channel, arguments)
    except grpc.RpcError as error:
        print("\n".join(explain(error, pb)), file=sys.stderr)
        return 2 if error.code() in REQUEST_IS_WRONG else 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
