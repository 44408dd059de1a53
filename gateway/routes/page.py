"""The front page: what this is, what it serves, and whether to believe it.

No script, no font, no foreign address.
"""

from __future__ import annotations

from html import escape

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from gateway.context import AppContext
from gateway.prices import dollars

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1d21;--soft:#5b616b;--paper:#fbfaf8;--line:#dcd8d0;--accent:#7a4b12}
@media(prefers-color-scheme:dark){:root{--ink:#eceae6;--soft:#a5a9b1;--paper:#16171a;--line:#34363c;--accent:#e0a860}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,sans-serif}
.banner{background:#b00020;color:#fff;padding:.8rem 1.2rem;font-weight:700;text-align:center}
main{max-width:60rem;margin:0 auto;padding:2.5rem 1.2rem 4rem}
h1{font-size:clamp(1.8rem,5vw,2.8rem);margin:0 0 .4rem;letter-spacing:-.02em}
p.lead{color:var(--soft);max-width:42rem;margin:0 0 2rem;font-size:1.1rem}
.table{overflow-x:auto;border:1px solid var(--line);border-radius:.5rem}
table{border-collapse:collapse;width:100%;min-width:34rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.55rem .9rem;border-bottom:1px solid var(--line)}
tr:last-child td{border-bottom:0}th{color:var(--soft);font-weight:600;font-size:.85rem}
td.n,th.n{text-align:right}code{font:.9em ui-monospace,monospace;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin:2.2rem 0 .7rem}ul{padding-left:1.1rem;margin:0}li{margin:.3rem 0}
a{color:var(--accent)}a:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
"""

_BANNER = (
    '<div class="banner" role="alert">INSECURE DEVELOPMENT: the TEE is simulated. '
    "Nothing sent here is protected.</div>"
)

_LINKS = (
    ("/.well-known/attestation", "Evidence (add <code>?nonce=</code> and 64 hex digits for a fresh one)"),
    ("/.well-known/casemate/manifest", "Manifest: the keys that the evidence binds"),
    ("/.well-known/casemate/config", "Configuration: the exact bytes that are attested"),
    ("/api/v1/models", "Models, as JSON"),
    ("/docs/openapi.json", "API description (OpenAPI)"),
    ("/readyz", "Readiness: does this gateway's own evidence verify?"),
)

_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def page_routes(context: AppContext) -> list[HTTPRouteHandler]:
    """`GET /`."""
    page = render(context)

    @get("/", include_in_schema=False)
    async def front() -> Response[str]:
        return Response(page, media_type="text/html", headers=_HEADERS)

    return [front]


def render(context: AppContext) -> str:
    """The whole page; everything from the configuration is escaped."""
    links = "".join(f'<li><a href="{path}">{text}</a></li>' for path, text in _LINKS)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(context.config.service)} · Casemate</title><style>{_STYLE}</style></head><body>"
        f"{_BANNER if context.insecure else ''}<main><h1>{escape(context.config.service)}</h1>"
        '<p class="lead">A confidential AI gateway. Verify what runs before you send anything; '
        "your prompt is forwarded over pinned TLS, billed, and forgotten.</p>"
        f"<h2>Models</h2>{_models(context)}<h2>Check it yourself</h2><ul>{links}</ul>"
        "<h2>What is not promised</h2><ul><li>A provider sees the prompt it is sent.</li>"
        "<li>Evidence proves a genuine CPU of a type and what runs on it, not where it stands.</li></ul>"
        "</main></body></html>"
    )


def _models(context: AppContext) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(model.provider)}</td>"
        f"<td>{escape(context.config.providers[model.provider].retention)}</td>"
        f'<td class="n">{dollars(model.input_nano_per_million):,.2f}</td>'
        f'<td class="n">{dollars(model.output_nano_per_million):,.2f}</td></tr>'
        for name, model in context.config.models.items()
    )
    head = (
        "<tr><th>Model</th><th>Provider</th><th>Retention there</th>"
        '<th class="n">In, $ per million tokens</th><th class="n">Out</th></tr>'
    )
    return f'<div class="table"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>'
