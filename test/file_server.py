"""An HTTP server in a thread whose answers are written by the test, for tests of downloads."""
import hashlib
import random
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DATA = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
MD5 = hashlib.md5(DATA).hexdigest()


class Answer(BaseHTTPRequestHandler):
    """What a scripted answer works with; `ask` is its own request's headers."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        with server.lock:
            server.requests.append((self.path, dict(self.headers)))
            script = server.scripts.get(self.path, [])
            answer = script.pop(0) if len(script) > 1 else script[0] if script else lambda answer: answer.status(404)
        self.close_connection = True
        try:
            answer(self)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client went away

    def head(self, code, length, **headers):
        self.send_response(code)
        if length is not None:
            self.send_header("Content-Length", length)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def status(self, code, **headers):
        self.head(code, 0, **headers)

    def log_message(self, *_):
        pass


def give(data=DATA, ranges=True, drop=None, etag='"1"', between=None, **headers):
    """
    Answer with data as a well-behaved server does.

    `ranges`: whether a rest can be asked for; `drop`: cut the connection after so many bytes; `between`: called in
    the middle, where the rest waits for it.
    """
    def answer(answer):
        start, asked = 0, re.fullmatch(r"bytes=(\d+)-", answer.headers.get("Range", ""))
        tags = {"ETag": etag} if etag else {}
        if ranges and asked and answer.headers.get("If-Range", etag) in (etag, headers.get("Last_Modified")):
            start = int(asked[1])
            if start >= len(data):
                return answer.status(416, Content_Range=f"bytes */{len(data)}")
            tags["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        body = data[start:]
        answer.head(206 if start else 200, len(body), **tags, **headers)
        if between:
            answer.wfile.write(body[: len(body) // 2])
            answer.wfile.flush()
            between()
            body = body[len(body) // 2 :]
        answer.wfile.write(body if drop is None else body[:drop])
    return answer


def status(code, **headers):
    return lambda answer: answer.status(code, **headers)


def redirect(url, code=302):
    return status(code, Location=url)


def raw(code, length, body, **headers):
    """Answer with exactly this, whatever was asked."""
    def answer(answer):
        answer.head(code, length, **headers)
        answer.wfile.write(body)
    return answer


class Server(ThreadingHTTPServer):
    """Scripts by path: a list of answers, the last of which is repeated; requests as (path, headers)."""

    daemon_threads = True
    block_on_close = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.lock, self.scripts, self.requests = threading.Lock(), {}, []

    def add(self, path, *answers):
        """Put a script under a path; returns its address."""
        self.scripts[path] = list(answers)
        return f"http://127.0.0.1:{self.server_port}{path}"

    def ranges(self):
        """What rests were asked for, a request each."""
        return [headers.get("Range") for _, headers in self.requests]


@contextmanager
def running():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
