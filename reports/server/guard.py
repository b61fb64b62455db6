"""Who may ask, and what every answer carries.

A page of another site can make a browser ask for 127.0.0.1 under a name of its own (DNS rebinding), and then read the
answer: so only names of this machine are answered to. Answers carry a policy under which pages load nothing from
elsewhere, run no script of their own text, and stand in no frame.
"""

from asyncio import CancelledError
from collections.abc import Collection
from typing import Any

from starlette.responses import PlainTextResponse

#: characters of an address's query
MOST = 4096
#: of the live page; other pages bring their own
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
#: of pages that carry their styles in themselves and no scripts
PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
#: of a site's pages, which say more themselves
SITE_POLICY = "default-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "content-security-policy": POLICY,
    "cache-control": "no-store",
}


class Guard:
    """Refuses other methods than GET and HEAD, other hosts, and long addresses; adds headers that are missing.

    Args:
        hosts: names answered to, without port; None for any.
    """

    def __init__(self, app: Any, hosts: Collection[str] | None):
        self.app, self.hosts = app, None if hosts is None else {host.lower() for host in hosts}

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            return

        started = False

        async def sent(message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                present = {name.lower() for name, _ in message["headers"]}
                more = [(n.encode(), v.encode()) for n, v in HEADERS.items() if n.encode() not in present]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        refusal = self.refusal(scope)
        try:
            await (refusal or self.app)(scope, receive, sent)
        except CancelledError:  # the server ends while torch still computes
            if not started:
                await PlainTextResponse("the server has ended\n", 503)(scope, receive, sent)

    def refusal(self, scope) -> PlainTextResponse | None:
        """The answer to what is not answered; None for the rest."""
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("only GET is answered here\n", 405, {"allow": "GET, HEAD"})
        given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if self.hosts is not None and (len(given) != 1 or host_name(given[0]) not in self.hosts):
            return PlainTextResponse("this host is not answered to: ask for 127.0.0.1 or localhost\n", 400)
        if len(scope["query_string"]) > MOST:
            return PlainTextResponse(f"the address is too long: at most {MOST} characters behind the ?\n", 414)
        return None


def host_name(given: str) -> str:
    """A host header's name without its port: "127.0.0.1:8000" is "127.0.0.1", "[::1]:8000" is "::1"."""
    given = given.strip().lower()
    if given.startswith("["):
        return given[1:].partition("]")[0]
    return given.rpartition(":")[0] if ":" in given else given
