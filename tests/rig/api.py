"""The control API as its clients see it, over the Unix socket or over TLS.

    api = Api.unix(path)                      one connection, one thread
    api = Api.tls("192.0.2.1:8443").login("admin", "secret")
    api.ask("GET", "/rest/version")           -> Answer(status, headers, body), whatever the status
    api.get(uri), api.post(uri, body), ...    the body; Refused for anything that is no success; a task is waited for
"""

import collections
import contextlib
import http.client
import json
import socket
import ssl
import time

API_VERSION = 2020
TASK_SECONDS = 60
PENDING = ("New", "Starting", "Pending", "Running", "Suspended", "Stopping")

Answer = collections.namedtuple("Answer", "status headers body")


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, what, answer):
        self.status = answer.status
        self.body = answer.body if isinstance(answer.body, dict) else {}
        self.code = self.body.get("errorCode", "")
        super().__init__(f"{what}: {answer.status} {answer.body}")


class TaskFailed(Exception):
    """A task that did not complete."""

    def __init__(self, task):
        self.task = task
        super().__init__(f"task {task.get('name')}: {task.get('taskState')}: {task.get('taskErrors')}")


class _Unix(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def trusting():
    """A TLS context that takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Api:
    """A client with one connection."""

    def __init__(self, connect):
        self.connect = connect
        self.connection = None
        self.patience = TASK_SECONDS
        self.headers = {"X-API-Version": str(API_VERSION)}

    @classmethod
    def unix(cls, path, timeout=60):
        """Over the control socket."""
        return cls(lambda: _Unix(path, timeout))

    @classmethod
    def tls(cls, address, timeout=60, context=None):
        """Over TLS."""
        return cls(lambda: http.client.HTTPSConnection(address, context=context or trusting(), timeout=timeout))

    def again(self):
        """Another client like this one, with a connection of its own."""
        other = Api(self.connect)
        other.headers, other.patience = dict(self.headers), self.patience
        return other

    def login(self, user, password):
        """Opens a session; requests from now on carry it."""
        body = {"userName": user, "password": password, "authLoginDomain": "LOCAL", "loginMsgAck": True}
        self.headers["auth"] = self.post("/rest/login-sessions", body)["sessionID"]
        return self

    def close(self):
        """Ends the connection."""
        if self.connection:
            self.connection.close()
            self.connection = None

    def ask(self, method, uri, body=None, headers=()):
        """One request, its body JSON, bytes or a file. A connection that the server closed in between is opened again, once."""
        text = body if body is None or isinstance(body, bytes) or hasattr(body, "read") else json.dumps(body).encode()
        given = {**self.headers, **({"Content-Type": "application/json"} if text else {}), **dict(headers)}
        fresh = self.connection is None
        while True:
            self.connection = self.connection or self.connect()
            try:
                self.connection.request(method, uri, text, given)
                response = self.connection.getresponse()
                answer = response.read()
                break
            except (http.client.HTTPException, OSError):
                self.close()
                if fresh:
                    raise
                fresh = True
        if response.will_close:
            self.close()
        with contextlib.suppress(ValueError):
            answer = json.loads(answer) if answer else None
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, answer)

    def call(self, method, uri, body=None, headers=()):
        """One request that must succeed; a task is waited for, and what it was about comes back (None when deleted)."""
        answer = self.ask(method, uri, body, headers)
        if answer.status >= 300:
            raise Refused(f"{method} {uri}", answer)
        if answer.status != 202:
            return answer.body
        task = self.wait(answer.headers.get("location") or answer.body["uri"])
        if task["name"] in ("Delete", "Remove"):
            return None
        return self.get(task["associatedResource"]["resourceUri"])

    def wait(self, uri, seconds=None):
        """The task when it is over; one that failed is an error."""
        seconds = seconds or self.patience
        begin = time.monotonic()
        end = begin + seconds
        while True:
            task = self.get(uri)
            if task["taskState"] not in PENDING:
                break
            if time.monotonic() > end:
                raise TimeoutError(f"the task {task['name']} is {task['taskState']} after {seconds} s")
            # Tasks take milliseconds, or many seconds: those are not asked for all the time.
            time.sleep(min(0.25, max(0.01, (time.monotonic() - begin) / 10)))
        if task["taskState"] not in ("Completed", "Warning"):
            raise TaskFailed(task)
        return task

    def get(self, uri):
        return self.call("GET", uri)

    def post(self, uri, body, headers=()):
        return self.call("POST", uri, body, headers)

    def put(self, uri, body, headers=()):
        return self.call("PUT", uri, body, headers)

    def delete(self, uri, headers=()):
        return self.call("DELETE", uri, headers=headers)

    def members(self, uri):
        """All of a collection, page after page."""
        found = []
        uri = f"{uri}{'&' if '?' in uri else '?'}count=-1"
        while uri:
            page = self.get(uri)
            found += page["members"]
            uri = page.get("nextPageUri") if page.get("nextPageUri") != page.get("uri") else None
        return found
