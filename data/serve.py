"""A small OpenAI-compatible server, for tests and to try `--judge URL` on a laptop: a judge, or any function, answers.

    python -m data.serve data/tiny/judge --port 8000
    python -m data.serve data/tiny/judge --port 8001 --trouble ok,429,stall

It prints its URL when it is ready. `--trouble` makes it misbehave, request by request in turn (see `TROUBLE`; "ok" is
a proper answer). For real work take vLLM: this one answers one question at a time.
"""
import argparse
import base64
import io
import itertools
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image



def pictures(body):
    """The pictures in a chat request."""
    return [Image.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].split(",", 1)[1])))
            for part in body["messages"][0]["content"] if part["type"] == "image_url"]


def question(body):
    """The text in a chat request: its content is a text, or a list of parts."""
    content = body["messages"][0]["content"]
    return content if isinstance(content, str) else next(part["text"] for part in content if part["type"] == "text")


class JudgeServer(ThreadingHTTPServer):
    """Answers chat requests with `answer(body)`: a text, or (status, object) to reply with. Runs in a thread.

    `bodies`: the requests so far. `answered`: those of them to which a proper reply was sent in full, which a shop
    would put on the bill. `most`: requests at once. `trouble`: names out of TROUBLE, one for each chat request.
    """

    daemon_threads, block_on_close = True, False

    def __init__(self, answer, *trouble, port=0):
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

    def handle_error(self, *_):
        """A client that hangs up is no news."""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.server.models is None:                                  # as `transformers serve` without a cache
            self.reply(500, "Internal Server Error")
        elif self.server.models:
            self.reply(200, {"object": "list", "data": [{"id": name} for name in self.server.models]})
        else:
            self.reply(200, "<html>hello</html>")

    def do_POST(self):
        body, server = json.loads(self.rfile.read(int(self.headers["Content-Length"]))), self.server
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

    def reply(self, status, reply, length=None, headers=()):
        """Send an object as JSON, a text as a page; with `length` announce so many bytes, whatever is sent."""
        payload = reply.encode() if isinstance(reply, str) else json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if isinstance(reply, str) else "application/json")
        self.send_header("Content-Length", str(length or len(payload)))
        for header in headers:
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_):
        pass


def completion(text):
    """A proper reply that says `text`."""
    return {"id": "1", "object": "chat.completion", "created": 0, "model": "fake",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010}}


def fails(status, *headers):
    return lambda handler: handler.reply(status, {"error": {"message": f"this is a {status}"}}, headers=headers)


def says(text):
    return lambda handler: handler.reply(200, completion(text))


def drop(handler):
    handler.close_connection = True


def cut(handler):
    drop(handler)
    handler.reply(200, {"choices": []}, length=9999)


def endless(chunk, pause):
    def write(handler):
        drop(handler)
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.end_headers()
        while not handler.server.closed.wait(pause):
            handler.wfile.write(chunk)                          # until the client hangs up
    return write


def broken(handler):
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "12")
    handler.end_headers()
    handler.wfile.write(b'{"choices":[')


TROUBLE = {
    "429": fails(429), "500": fails(500), "400": fails(400), "401": fails(401),
    "later": fails(429, ("Retry-After-Ms", "50")),
    "stall": lambda handler: (handler.server.closed.wait(60), drop(handler)),
    "drop": drop, "cut": cut, "drip": endless(b" ", 0.05), "flood": endless(b" " * 100_000, 0.001),
    "json": broken, "html": lambda handler: handler.reply(200, "<html>Sign in to the network</html>"),
    "shape": lambda handler: handler.reply(200, {"choices": []}),
    "null": says(None), "nonsense": says("I cannot see any pictures."),
    "other task": says('{"errors":[{"category":"shape_error","location":"circle","description":"moved","severity":3}],'
                       '"shape_error_count":1}'),
}


def judge(name):
    """An `answer` for JudgeServer: the model in the folder `name` writes it."""
    from data.models import Chat

    chat, one = Chat(name), threading.Lock()

    def answer(body):
        content = [{"type": "image", "image": image} for image in pictures(body)]
        asked = [{"role": "user", "content": [*content, {"type": "text", "text": question(body)}]}]
        with one:
            return chat.answer([asked], body.get("max_tokens", 512), body.get("temperature", 0.0))[0][0]
    return answer


def main():
    parser = argparse.ArgumentParser(description="A small OpenAI-compatible server with a judge behind it.")
    parser.add_argument("judge", help="model folder or hub name")
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--trouble", default="ok", help=f"in turn, with commas between: ok, {', '.join(TROUBLE)}")
    args = parser.parse_args()
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
            print(f"{len(server.answered)} of {len(server.bodies)} questions answered", file=sys.stderr)


if __name__ == "__main__":
    main()
