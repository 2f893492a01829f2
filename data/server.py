"""Models behind a URL: a client for OpenAI-compatible servers, one or several."""
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock, Semaphore, Thread
from urllib.parse import urlsplit

from tqdm import tqdm

from data.pairs import data_url
from data.runs import say
from data.verdict import InputError, in_one_line


def is_url(name: str) -> bool:
    """Whether a model's name is the URL of a server."""
    return name.startswith(("http://", "https://"))


def _has_host(url: str) -> bool:
    """Whether a URL is whole: "http://[::1" or a port that is no number are not."""
    try:
        parts = urlsplit(url)
        return bool(is_url(url) and parts.hostname and (parts.port or True))
    except ValueError:
        return False


class NoAnswer(InputError):
    """No server gave any answer: they are down, or refuse everything."""


NO_REPLY = "no reply: "
REST = 30.0  # seconds without requests for a server that timed out or sent an invalid reply
LONGEST_REPLY = 4_000_000  # bytes; more than any answer of a preset needs


class _Host:
    """One of the servers of a `Server`: its address, its model's name, its load and state."""

    def __init__(self, url: str, workers: int, timeout: float):
        import openai  # only here: local models need no client

        url, _, self.model = url.partition("#")
        self.url = url.rstrip("/") + ("" if urlsplit(url).path.strip("/") else "/v1")
        key = os.environ.get("OPENAI_API_KEY") or "none"
        self.client = openai.OpenAI(base_url=self.url, api_key=key, timeout=timeout, max_retries=0,
                                    http_client=_bounded_http(timeout))
        self.slots = Semaphore(workers)
        self.busy = 0  # requests without a reply yet
        self.rests_until = 0.0  # time.monotonic()
        # OpenAI's reasoning models have another name for the length and take no temperature.
        self.reasons = False

    def awake(self) -> bool:
        """Whether it may get requests."""
        return self.rests_until <= time.monotonic()

    def find_model(self, retries: int) -> None:
        """Ask which model it serves, if none was named. Raises whatever goes wrong."""
        if not self.model:
            models = self.client.with_options(max_retries=retries).models.list()
            self.model = models.data[0].id

    def ask(self, content: list, max_tokens: int, temperature: float, retries: int):
        """The reply, a ChatCompletion if the server is compatible. Raises whatever goes wrong."""
        self.find_model(retries)
        limits = {"max_tokens": max_tokens, "temperature": temperature}
        if self.reasons:
            limits = {"max_completion_tokens": max_tokens}
        try:
            return self.client.with_options(max_retries=retries).chat.completions.create(
                model=self.model, messages=[{"role": "user", "content": content}], **limits)
        except Exception as error:
            if "max_tokens" not in limits or "Use 'max_completion_tokens'" not in str(error):
                raise
            self.reasons = True
            return self.ask(content, max_tokens, temperature, retries)


def _bounded_http(seconds: float):
    """The openai client's HTTP client with a limit on the whole reply, headers included.

    The client's own timeouts begin anew with every byte that arrives.
    """
    import httpx2  # what openai is built on
    import openai

    class Bounded(httpx2.SyncByteStream):
        def __init__(self, stream):
            self.stream = stream

        def __iter__(self):
            end, size = time.monotonic() + seconds, 0
            for chunk in self.stream:
                size += len(chunk)
                if size > LONGEST_REPLY or time.monotonic() > end:
                    raise httpx2.ReadTimeout("The reply has no end.")
                yield chunk

        def close(self):
            self.stream.close()

    def bound(response):
        response.stream = Bounded(response.stream)

    class Client(openai.DefaultHttpxClient):
        def send(self, request, **options):
            reply = Future()

            def run():
                try:
                    reply.set_result(super(Client, self).send(request, **options))
                except BaseException as error:
                    reply.set_exception(error)

            Thread(target=run, daemon=True).start()  # nothing else ends headers that drip
            try:
                return reply.result(2 * seconds)
            except TimeoutError:
                raise httpx2.ReadTimeout("The reply has no end.", request=request) from None

    return Client(event_hooks={"response": [bound]})


class Server:
    """OpenAI-compatible servers: `http://host:8000/v1` or several with commas; `...#name`: model.

    Each gets up to `workers` requests at once, the least busy first, and has `timeout` seconds to
    begin a reply and as many to end it. A request that fails with 429 or 5xx is repeated up to
    `retries` times, with growing pauses, if no other server can take it. One of several servers
    that times out or sends an invalid reply is skipped for REST seconds. Raises InputError if one
    is not compatible, NoAnswer if none of them replies and they `must_reply` at once.
    """

    def __init__(self, urls: str, *, workers: int = 8, timeout: float = 120.0, retries: int = 2,
                 must_reply: bool = True):
        import openai

        self.silent = openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError
        self.refusal = openai.APIStatusError
        urls = [url.strip() for url in urls.split(",") if url.strip()]
        if wrong := [url for url in urls or [""] if not _has_host(url)]:
            raise InputError(f"{wrong[0]!r} is no URL; write http://host:port/v1, several of them "
                             "with commas between.")
        self.hosts = [_Host(url, workers, timeout) for url in urls]
        self.retries, self.workers, self.lock = retries, workers * len(urls), Lock()
        why = ""
        for host in self.hosts:
            try:
                host.find_model(retries if len(urls) == 1 else 0)
            except self.silent as error:
                why = in_one_line(error)
                self._rest(host)
            except Exception as error:  # whatever a program that is no such server may send
                raise InputError(f"What answers at {host.url} is no OpenAI-compatible server, or "
                                 f"lists no model and needs its name, {host.url}#name "
                                 f"({in_one_line(error)}).") from error
        if must_reply and all(host.rests_until for host in self.hosts):
            raise NoAnswer(f"No server answers at {self} ({why}); start it, check address and "
                           "port, or name its model if it lists none: "
                           f"{self.hosts[-1].url}#name.")

    def __str__(self):
        return ", ".join(host.url for host in self.hosts)

    def ask_all(self, conversations: list, max_tokens: int, temperature: float = 0.0,
                each: Callable | None = None, patience: float = 0.0) -> list[tuple[str, str]]:
        """(answer, "") for each conversation, or ("", why not). NoAnswer if all of them fail.

        The reason begins with NO_REPLY if no server replied (down, overloaded, too slow); a refusal
        is a reply. What got no reply is asked again for up to `patience` seconds, with growing
        pauses; then NoAnswer. `each(number, answer, why not, (tokens read, tokens written))` is
        called, in the thread that asked, as soon as there is an answer. Ctrl-C ends it once the
        requests under way are answered, and `each` gets those answers.
        """
        answers, left, waited, pause = {}, list(range(len(conversations))), 0, 5
        while left:
            part = {n: conversations[n] for n in left}
            answers |= self._ask_once(part, max_tokens, temperature, each)
            left = [n for n in left if answers[n][1].startswith(NO_REPLY)]
            if not left or not patience:
                break
            why = f"{len(left)} of {len(conversations)} questions got {answers[left[0]][1]}."
            if waited >= patience:
                raise NoAnswer(f"{why} The server at {self} did not reply for {waited} s.")
            tqdm.write(f"{why} Asking again in {pause} s.")
            time.sleep(pause)
            waited, pause = waited + pause, min(60, 2 * pause)
        failed = [why for _, why in answers.values() if why]
        if failed and len(failed) == len(answers):
            raise NoAnswer(f"The server at {self} gave no answer at all ({failed[0]}).")
        return [answers[n] for n in range(len(conversations))]

    def _ask_once(self, conversations: dict, max_tokens, temperature, each) -> dict:
        """{number: (answer, why not)} of {number: conversation}, `workers` at once."""
        def one(number, messages):
            answer, why, tokens = self._ask(messages, max_tokens, temperature)
            if each:
                each(number, answer, why, tokens)
            return answer, why

        pool = ThreadPoolExecutor(self.workers)
        try:
            # map keeps the order
            found = list(pool.map(one, conversations, conversations.values()))
        finally:
            pool.shutdown(cancel_futures=True)
        return dict(zip(conversations, found))

    def _ask(self, messages, max_tokens, temperature):
        """(answer, why not, (tokens read, tokens written)).

        Asks the servers that are awake in turn, or all if none is.
        """
        content = []
        for part in messages[0]["content"]:
            if "image" in part:
                part = {"type": "image_url", "image_url": {"url": data_url(part["image"])}}
            content.append(part)
        why, left = "", [host for host in self.hosts if host.awake()] or self.hosts[:]
        while left:
            with self.lock:
                host = min(left, key=lambda host: (not host.awake(), host.busy))
                host.busy += 1
            left.remove(host)
            try:
                with host.slots:
                    elsewhere = any(other.awake() for other in left)
                    retries = 0 if elsewhere else self.retries
                    reply = host.ask(content, max_tokens, temperature, retries)
                answer, used = reply.choices[0].message.content or "", reply.usage
                counts = (used.prompt_tokens, used.completion_tokens) if used else (0, 0)
                tokens = tuple(count or 0 for count in counts)
                host.rests_until = 0.0
                return answer, "", tokens
            except Exception as error:  # the network, the server, or a reply of any shape
                silent = isinstance(error, self.silent)
                why = (NO_REPLY if silent else "") + in_one_line(error)
                if not isinstance(error, self.refusal):  # no reply, or an invalid one
                    self._rest(host)
                elif not silent:
                    break  # the others would say the same
            finally:
                with self.lock:
                    host.busy -= 1
        return "", why, (0, 0)

    def _rest(self, host: _Host):
        host.rests_until = time.monotonic() + REST
        if len(self.hosts) > 1:
            say(f"No answer from {host.url}: its requests go to the others, and it is tried again "
                f"every {REST:.0f} s.")
