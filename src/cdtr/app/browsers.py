"""What keeps pages of other web sites from using this server through their visitors' browsers."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SAFE = ("GET", "HEAD", "OPTIONS")
_OWN = ("same-origin", "none")  # none: the address bar, a bookmark

_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# Swagger's page has its script and styles inside.
_DOCS_POLICY = "default-src 'self' 'unsafe-inline' data:; frame-ancestors 'none'"


def is_foreign(scope: Scope, headers: Headers) -> bool:
    """Whether a page of another web site, or none that can be named, sent the request.

    Browsers say so in Sec-Fetch-Site, which no page can change, and older ones, or those that do not trust the address,
    in Origin, for what is no GET. Programs send neither and are let through.
    """
    safe = scope["method"] in _SAFE
    sites = headers.getlist("sec-fetch-site")
    if sites:
        # Links from elsewhere may open the page; they may not load what costs work.
        followed = safe and headers.get("sec-fetch-mode") == "navigate"
        return not followed and any(site not in _OWN for site in sites)
    host = headers.get("host", "").lower()
    return not safe and any(origin.partition("://")[2].lower() != host for origin in headers.getlist("origin"))


class SecurityHeaders:
    """Tells browsers to load nothing from elsewhere, show nothing elsewhere, guess no types, and keep no response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI request and add the headers to its response."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                policy = _DOCS_POLICY if scope["path"].startswith("/docs") else _PAGE_POLICY
                headers["Content-Security-Policy"] = policy
                headers["Cross-Origin-Resource-Policy"] = "same-origin"
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "same-origin"
                headers.setdefault("Cache-Control", "no-store" if scope["path"].startswith("/api") else "no-cache")
            await send(message)

        await self.app(scope, receive, send_with_headers)
