"""A small OpenAI-compatible server, for tests and to try `--judge URL` on a laptop.

A judge, or any function, answers.

    python -m data.serve data/tiny/judge --port 8000
    python -m data.serve data/tiny/judge --port 8001 --trouble ok,429,stall

It prints its URL when it is ready. `--trouble` makes requests fail, by the given kinds in turn (see
`TROUBLE`; "ok" is a valid reply). For real work take vLLM: this one answers one question at a time.
"""
import argparse
import base64
import io
import itertools
import json
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image

# --- 1. the server ---


def pictures(body: dict) -> list[Image.Image]:
    """The images in a chat request."""
    images = []
    for part in body["messages"][0]["content"]:
        if part["type"] == "image_url":
            _, encoded = part["image_url"]["url"].split(",", 1)
            images.append(Image.open(io.BytesIO(base64.b64decode(encoded))))
    return images


def question(body: dict) -> str:
    """The text in a chat request: its content is a text, or a list of parts."""
    content = body["messages"][0]["content"]
    if isinstance(content, str):
        return content
    return next(part["text"] for part in content if part["type"] == "text")


class JudgeServer(ThreadingHTTPServer):
    """Replies to chat requests, in a thread, with `answer(body)`: a text, or (status, object).

    `bodies`: the requests so far. `answered`: those to which a valid reply was sent in full (a paid
    service would charge them). `most`: requests at once. `trouble`: a name in TROUBLE for each.
    """

    daemon_threads, block_on_close = True, False

    def __init__(self, answer: Callable, *trouble: str, port: int = 0):
        self.answer, self.trouble, self.models = answer, iter(trouble), ["fake"]
        self.bodies, self.answered, self.running, self.most = [], [], 0, 0
        self.lock, self.closed = threading.Lock(), threading.Event()
        super().__init__(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.closed.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, *_) -> None:
        """Print nothing when a client hangs up."""


class Handler(BaseHTTPRequestHandler):
    """One request to a JudgeServer."""

    def do_GET(self) -> None:
        """List the models."""
        if self.server.models is None:  # as `transformers serve` without a cache
            self.reply(500, "Internal Server Error")
        elif self.server.models:
            models = [{"id": name} for name in self.server.models]
            self.reply(200, {"object": "list", "data": models})
        else:
            self.reply(200, "<html>hello</html>")

    def do_POST(self) -> None:
        """Answer a chat request, or fail as the next kind of trouble does."""
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.bodies.append(body)
            server.running += 1
            server.most = max(server.most, server.running)
            trouble = next(server.trouble, "ok")
        try:
            if trouble != "ok":
                return TROUBLE[trouble](self)
            answer = server.answer(body)
            status, reply = answer if isinstance(answer, tuple) else (200, completion(answer))
        finally:
            with server.lock:
                server.running -= 1
        if status == 200:
            server.answered.append(body)
        self.reply(status, reply)

    def reply(self, status: int, reply: dict | str, length: int | None = None,
              headers: tuple = ()) -> None:
        """Send an object as JSON, a text as a page. `length`: a wrong length to announce."""
        is_page = isinstance(reply, str)
        payload = (reply if is_page else json.dumps(reply)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if is_page else "application/json")
        self.send_header("Content-Length", str(length or len(payload)))
        for header in headers:
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_) -> None:
        """Print nothing."""


def completion(text: str | None) -> dict:
    """A valid reply with the answer `text`."""
    message = {"role": "assistant", "content": text}
    return {"id": "1", "object": "chat.completion", "created": 0, "model": "fake",
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010}}


# --- 2. kinds of trouble ---
# Each is a function of a Handler that replies, or does not.


def fails(status: int, *headers: tuple[str, str]) -> Callable:
    """An error of this HTTP status."""
    error = {"error": {"message": f"this is a {status}"}}
    return lambda handler: handler.reply(status, error, headers=headers)


def says(text: str | None) -> Callable:
    """A valid reply with the answer `text`."""
    return lambda handler: handler.reply(200, completion(text))


def drop(handler: Handler) -> None:
    """Close the connection without a reply."""
    handler.close_connection = True


def cut(handler: Handler) -> None:
    """Close the connection in the middle of a reply."""
    drop(handler)
    handler.reply(200, {"choices": []}, length=9999)


def endless(chunk: bytes, pause: float) -> Callable:
    """Repeat `chunk` every `pause` seconds until the client hangs up."""
    def write(handler):
        drop(handler)
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.end_headers()
        while not handler.server.closed.wait(pause):
            handler.wfile.write(chunk)
    return write


def slow_headers(handler: Handler) -> None:
    """Headers that never end."""
    drop(handler)
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not handler.server.closed.wait(0.05):
        handler.wfile.write(b"x")


def uses(usage: dict | None) -> Callable:
    """A clean verdict whose `usage` is this."""
    reply = completion('{"errors": []}') | {"usage": usage}
    return lambda handler: handler.reply(200, reply)


def broken(handler: Handler) -> None:
    """A reply that is no complete JSON."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "12")
    handler.end_headers()
    handler.wfile.write(b'{"choices":[')


MOVED_CIRCLE = ('{"errors":[{"category":"shape_error","location":"circle","description":"moved",'
                '"severity":3}],"shape_error_count":1}')
TROUBLE = {
    "429": fails(429), "500": fails(500), "400": fails(400), "401": fails(401),
    "later": fails(429, ("Retry-After-Ms", "50")),
    "stall": lambda handler: (handler.server.closed.wait(60), drop(handler)),
    "drop": drop, "cut": cut,
    "drip": endless(b" ", 0.05), "flood": endless(b" " * 100_000, 0.001),
    "headers": slow_headers, "json": broken, "no usage": uses(None),
    "null usage": uses({"prompt_tokens": None, "completion_tokens": None, "total_tokens": None}),
    "html": lambda handler: handler.reply(200, "<html>Sign in to the network</html>"),
    "shape": lambda handler: handler.reply(200, {"choices": []}),
    "null": says(None), "nonsense": says("I cannot see any pictures."),
    "other task": says(MOVED_CIRCLE),
}


# --- 3. the command line ---


def judge(name: str) -> Callable[[dict], str]:
    """An `answer` for JudgeServer: the model in the folder `name` writes it."""
    from data.models import Chat

    chat, one = Chat(name), threading.Lock()

    def answer(body):
        content = [{"type": "image", "image": image} for image in pictures(body)]
        content.append({"type": "text", "text": question(body)})
        asked = [{"role": "user", "content": content}]
        limit, temperature = body.get("max_tokens", 512), body.get("temperature", 0.0)
        with one:
            [(text, _)] = chat.answer([asked], limit, 1, temperature)
        return text
    return answer


def main(argv: list[str] | None = None) -> None:
    """Serve the judge until Ctrl-C."""
    parser = argparse.ArgumentParser(description="A small OpenAI-compatible server with a judge.")
    parser.add_argument("judge", help="model folder or hub name")
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--trouble", default="ok",
                        help=f"in turn, with commas between: ok, {', '.join(TROUBLE)}")
    args = parser.parse_args(argv)
    turns = args.trouble.split(",")
    if unknown := [name for name in turns if name not in ("ok", *TROUBLE)]:
        parser.error(f"there is no trouble {unknown[0]!r}; choose among ok, {', '.join(TROUBLE)}")
    server = JudgeServer(judge(args.judge), port=args.port)
    server.trouble, server.models = itertools.cycle(turns), [args.judge]
    with server:
        print(server.url, flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            print(f"{len(server.answered)} of {len(server.bodies)} questions answered",
                  file=sys.stderr)


if __name__ == "__main__":
    main()
