"""Models behind a URL: a client for OpenAI-compatible servers, one or several."""
import os
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Lock, Semaphore
from urllib.parse import urlsplit

from data.report import data_url
from data.runs import say
from data.verdict import InputError, in_one_line


def is_url(name: str) -> bool:
    return name.startswith(("http://", "https://"))


NO_REPLY = "no reply: "
REST = 30.0                       # seconds for which a server that was silent or talked nonsense gets no questions
LONGEST_REPLY = 4_000_000         # bytes; more than any answer of a preset needs


class _Host:
    """One of the servers of a `Server`: its address, its model's name and how it is doing."""

    def __init__(self, url: str, workers: int, timeout: float):
        import openai  # only here: local models need no client

        url, _, self.model = url.partition("#")
        self.url = url.rstrip("/") + ("" if urlsplit(url).path.strip("/") else "/v1")
        self.client = openai.OpenAI(base_url=self.url, api_key=os.environ.get("OPENAI_API_KEY") or "none",
                                    timeout=timeout, max_retries=0, http_client=_bounded_http(timeout))
        self.slots = Semaphore(workers)
        self.busy = 0                # questions it was given and has not answered
        self.rests_until = 0.0       # time.monotonic()
        self.reasons = False         # OpenAI's reasoning models name the length otherwise and take no temperature

    def awake(self) -> bool:
        return self.rests_until <= time.monotonic()

    def find_model(self, retries: int):
        """Asks which model it serves, if none was named. Raises whatever goes wrong."""
        self.model = self.model or self.client.with_options(max_retries=retries).models.list().data[0].id

    def ask(self, content: list, max_tokens: int, temperature: float, retries: int):
        """The server's reply, a ChatCompletion if it keeps to the protocol. Raises whatever goes wrong."""
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
    """The openai client's HTTP client with an end: its own timeouts begin anew with every byte that arrives."""
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

    return openai.DefaultHttpxClient(event_hooks={"response": [bound]})


class Server:
    """OpenAI-compatible servers: `http://host:8000/v1`, or several separated by commas; `...#name` picks a model.

    Each is asked `workers` questions at once, the least busy first, and has `timeout` seconds to begin a reply and as
    many to end it. Busy and broken servers (429, 5xx) are asked again up to `retries` times, with growing pauses, if
    no other can take the question. One of several that is silent or no such server gets no questions for REST seconds.
    Raises InputError if none of them answers or one is no such server.
    """

    def __init__(self, urls: str, *, workers: int = 8, timeout: float = 120.0, retries: int = 2):
        import openai

        self.silent = openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError
        self.refusal = openai.APIStatusError
        urls = [url.strip() for url in urls.split(",") if url.strip()]
        if wrong := [url for url in urls if not is_url(url)]:
            raise InputError(f"{wrong[0]!r} is no URL; write http://host:port/v1, several of them with commas between.")
        self.hosts, self.retries, self.lock = [_Host(url, workers, timeout) for url in urls], retries, Lock()
        self.workers = workers * len(urls)
        why = ""
        for host in self.hosts:
            try:
                host.find_model(retries if len(urls) == 1 else 0)
            except self.silent as error:
                why = in_one_line(error)
                self._rest(host)
            except Exception as error:  # whatever a program that is no such server may send
                raise InputError(f"What answers at {host.url} is no OpenAI-compatible server, or lists no model and "
                                 f"needs its name, {host.url}#name ({in_one_line(error)}).") from error
        if all(host.rests_until for host in self.hosts):
            raise InputError(f"No server answers at {self} ({why}); start it, check address and port, or name its model "
                             f"if it lists none: {self.hosts[-1].url}#name.")

    def __str__(self):
        return ", ".join(host.url for host in self.hosts)

    def ask_all(self, conversations, max_tokens: int, temperature: float = 0.0, each=None) -> list[tuple[str, str]]:
        """(answer, "") for each conversation, or ("", why not). InputError if all of them fail.

        The reason begins with NO_REPLY if no server replied (down, overloaded, too slow); a refusal is a reply.
        `each(number, answer, why not, (tokens read, tokens written))` is called, in the thread that asked, as soon as
        there is an answer. Ctrl-C ends it once the questions under way are answered, and `each` gets those answers.
        """
        def one(number, messages):
            answer, why, tokens = self._ask(messages, max_tokens, temperature)
            if each:
                each(number, answer, why, tokens)
            return answer, why

        pool = ThreadPoolExecutor(self.workers)
        try:
            answers = list(pool.map(one, range(len(conversations)), conversations))  # map keeps the order
        finally:
            pool.shutdown(cancel_futures=True)
        failed = [why for _, why in answers if why]
        if failed and len(failed) == len(answers):
            raise InputError(f"The server at {self} gave no answer at all ({failed[0]}).")
        return answers

    def _ask(self, messages, max_tokens, temperature):
        """(answer, why not, (tokens read, tokens written)). Asks all servers that are awake in turn, or else all."""
        content = [{"type": "image_url", "image_url": {"url": data_url(part["image"])}} if "image" in part else part
                   for part in messages[0]["content"]]
        why, left = "", [host for host in self.hosts if host.awake()] or self.hosts[:]
        while left:
            with self.lock:
                host = min(left, key=lambda host: (not host.awake(), host.busy))
                host.busy += 1
            left.remove(host)
            try:
                with host.slots:
                    elsewhere = any(other.awake() for other in left)
                    reply = host.ask(content, max_tokens, temperature, 0 if elsewhere else self.retries)
                answer, used = reply.choices[0].message.content or "", reply.usage
                host.rests_until = 0.0
                return answer, "", (used.prompt_tokens, used.completion_tokens) if used else (0, 0)
            except Exception as error:  # the network, the server, or a reply of any shape
                silent = isinstance(error, self.silent)
                why = (NO_REPLY if silent else "") + in_one_line(error)
                if not isinstance(error, self.refusal):  # silent, or no such server
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
            say(f"No answer from {host.url}: the others take its work, and it is tried again every {REST:.0f} s.")
