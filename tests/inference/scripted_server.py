"""A real HTTP server on loopback that answers as a test tells it to."""

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    """What the server does with one request."""

    status: int = 200
    body: str | bytes | dict = ""
    headers: dict = field(default_factory=dict)
    length: int | None = None  # announced, if not the true one
    before: threading.Event | None = None  # waited for before the body is sent


@dataclass
class Seen:
    """What the server was asked."""

    path: str
    headers: dict
    payload: dict


class Script:
    """Answers by a function of what was asked and how often that prompt was asked before."""

    def __init__(self, answer):
        self.answer = answer
        self.seen = []
        self.lock = threading.Lock()
        self.now = 0
        self.most = 0

    def asked(self, seen):
        with self.lock:
            before = sum(s.payload == seen.payload and s.path == seen.path for s in self.seen)
            self.seen.append(seen)
        return self.answer(seen, before)


@contextmanager
def scripted_server(answer):
    """Yield the base address and the script."""
    script = Script(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self):
            payload = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self._asked(payload)

        def do_GET(self):
            self._asked(None)

        def _asked(self, payload):
            with script.lock:
                script.now += 1
                script.most = max(script.most, script.now)
            try:
                self._reply(script.asked(Seen(self.path, dict(self.headers), payload)))
            finally:
                with script.lock:
                    script.now -= 1

        def _reply(self, answer):
            body = json.dumps(answer.body) if isinstance(answer.body, dict) else answer.body
            body = body.encode() if isinstance(body, str) else body
            if answer.before is not None:
                answer.before.wait(5)
            try:
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(answer.length or len(body)))
                self.end_headers()
                self.wfile.write(body)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client gave up
            if answer.length is not None:
                self.close_connection = True

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def completion(text="ok", logprobs=None, finish="stop", tokens=1, **choice):
    """A legacy completion."""
    chosen = {"index": 0, "text": text, "finish_reason": finish, "logprobs": logprobs, **choice}
    usage = {"prompt_tokens": 3, "completion_tokens": tokens, "total_tokens": 3 + tokens}
    return {"object": "text_completion", "model": "m-1", "choices": [chosen], "usage": usage}


def chat(text="ok", content=None, finish="stop"):
    """A chat completion."""
    message = {"role": "assistant", "content": text}
    logprobs = None if content is None else {"content": content}
    chosen = {"index": 0, "message": message, "finish_reason": finish, "logprobs": logprobs}
    usage = {"prompt_tokens": 9, "completion_tokens": len(content or [1])}
    return {"object": "chat.completion", "model": "m-1", "choices": [chosen], "usage": usage}
