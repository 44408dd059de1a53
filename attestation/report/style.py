"""Look of the HTML report: one style sheet for screen (light and dark), telephone and paper.

No colour carries a meaning of its own: every mark has a shape and a word beside it. Fonts are whatever the
reader's machine has; nothing is loaded.
"""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;
--paper:#fcfbf8;--card:#fff;--ink:#211f1b;--soft:#5a554b;--line:#e3ded3;--wash:#f4f1ea;
--pass:#17603f;--fail:#9c2317;--undecided:#76490a;--insecure:#8b1a56;--noted:#4b5563;
--pass-wash:#eef5f0;--fail-wash:#fbefec;--undecided-wash:#faf3e4;--insecure-wash:#fbeef5;--noted-wash:#f1f2f4;
--serif:Charter,"Bitstream Charter","Iowan Old Style","Source Serif 4",Georgia,"Liberation Serif",serif;
--sans:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","Liberation Sans",Arial,sans-serif;
--mono:ui-monospace,"SF Mono",SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace}
@media (prefers-color-scheme:dark){:root{
--paper:#161513;--card:#1d1c19;--ink:#ece8df;--soft:#b0a99b;--line:#353229;--wash:#23211d;
--pass:#82cfa5;--fail:#f5a294;--undecided:#e9bd6c;--insecure:#f19cc7;--noted:#b6bec9;
--pass-wash:#18241d;--fail-wash:#2c1a17;--undecided-wash:#2a2214;--insecure-wash:#2c1823;--noted-wash:#202327}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:1rem/1.6 var(--sans)}
main{max-width:52rem;margin:0 auto;padding:3.5rem 1.5rem 4rem}
h1,h2,h3,h4,p,ul,dl,dd,ol{margin:0;padding:0}
h1,h2,h3,.word{font-family:var(--serif);font-weight:600;line-height:1.25;text-wrap:balance}
h1{font-size:2rem;overflow-wrap:anywhere}
h2{font-size:1.45rem;margin:3.5rem 0 .75rem}
h3{font-size:1.15rem;margin:2.5rem 0 .3rem}
h4{font-size:1rem;font-weight:600;line-height:1.4}
p,li,dd{overflow-wrap:anywhere}
a{color:inherit;text-decoration-color:var(--soft);text-underline-offset:.2em}
a:focus-visible{outline:2px solid currentColor;outline-offset:3px}
code,.value{font-family:var(--mono);font-size:.8125rem;line-height:1.55;overflow-wrap:anywhere}
svg{width:1.15em;height:1.15em;flex:none;fill:none;stroke:currentColor;stroke-width:2;
stroke-linecap:round;stroke-linejoin:round;vertical-align:-.2em}
.kicker{font-size:.8125rem;letter-spacing:.08em;text-transform:uppercase;color:var(--soft);margin-bottom:.5rem}
.lede{color:var(--soft);max-width:42rem}
.pass{--hue:var(--pass);--tint:var(--pass-wash)}
.fail{--hue:var(--fail);--tint:var(--fail-wash)}
.undecided{--hue:var(--undecided);--tint:var(--undecided-wash)}
.insecure{--hue:var(--insecure);--tint:var(--insecure-wash)}
.hollow{--hue:var(--insecure);--tint:transparent}
.noted,.unseen{--hue:var(--noted);--tint:var(--noted-wash)}
.verdict{margin:2rem 0 0;padding:1.6rem 1.75rem 1.75rem;background:var(--tint);border:1px solid var(--hue);
border-left-width:6px;border-radius:6px}
.verdict.insecure{border:3px dashed var(--hue)}
.verdict .word{font-size:1.75rem;color:var(--hue);margin:0 0 .6rem;display:flex;gap:.6rem;
align-items:flex-start}
.verdict .word svg{margin-top:.18em;width:1em;height:1em}
.verdict p+p{margin-top:.7rem}
.why{margin-top:1.1rem;padding-top:1rem;border-top:1px solid var(--hue);font-weight:600}
.reasons{padding-left:1.15rem}
.reasons li{padding-top:.6rem}
.reasons span{display:block;color:var(--soft)}
.answers{list-style:none;border-top:1px solid var(--line)}
.answers li{display:grid;grid-template-columns:10.5rem 1fr auto;gap:.25rem 1rem;padding:.7rem 0;
border-bottom:1px solid var(--line)}
.mark{color:var(--hue);font-weight:600;font-size:.9375rem;display:inline-flex;gap:.45rem;align-items:flex-start}
.mark svg{margin-top:.2em}
.count{color:var(--soft);font-size:.875rem;white-space:nowrap}
.limits{padding-left:1.15rem}
.limits li{margin:.35rem 0}
.rows{border-top:1px solid var(--line)}
.rows>div{display:grid;grid-template-columns:13rem 1fr;gap:.1rem 1rem;padding:.5rem 0;
border-bottom:1px solid var(--line)}
.rows dt{color:var(--soft);font-size:.9375rem;overflow-wrap:anywhere}
.check{display:grid;grid-template-columns:7.5rem 1fr;gap:.25rem 1.25rem;padding:1.05rem 0;
border-top:1px solid var(--line)}
.lede+.check{margin-top:1rem}
.check>*{min-width:0}
.check.fail,.check.undecided,.check.insecure{background:var(--tint);border:solid var(--hue);
border-width:1px 0;padding-left:1rem;padding-right:1rem;margin-left:-1rem;margin-right:-1rem}
.check.fail+.check,.check.undecided+.check,.check.insecure+.check{border-top-width:0}
.says,.open{font-size:.9375rem}
.open{color:var(--soft)}
.pair{display:grid;grid-template-columns:5.5rem 1fr;gap:.15rem .75rem;margin:.5rem 0;
align-items:baseline}
.pair dt{color:var(--soft);font-size:.875rem}
.ref{color:var(--soft);font-size:.8125rem;margin-top:.35rem}
pre{margin:1rem 0 0;padding:1rem 1.1rem;background:var(--wash);border-radius:6px;white-space:pre-wrap;
overflow-wrap:anywhere;font:.8125rem/1.6 var(--mono)}
footer{margin-top:4rem;padding-top:1.25rem;border-top:1px solid var(--line);color:var(--soft);
font-size:.875rem}
footer p+p{margin-top:.5rem}
@media (max-width:40rem){
main{padding:2rem 1.1rem 3rem}
h1{font-size:1.55rem}h2{font-size:1.3rem;margin-top:2.75rem}
.verdict{padding:1.2rem 1.1rem 1.3rem}.verdict .word{font-size:1.4rem}
.answers li{grid-template-columns:1fr auto}.answers .ask{grid-column:1/-1;grid-row:1}
.rows>div,.check{grid-template-columns:1fr}
.pair{grid-template-columns:1fr;gap:0}.pair dd{margin-bottom:.35rem}
.check.fail,.check.undecided,.check.insecure{margin-left:-.6rem;margin-right:-.6rem;padding-left:.6rem;
padding-right:.6rem}}
@media print{
:root{color-scheme:light;--paper:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#bbb;--wash:#f4f4f4;
--pass:#17603f;--fail:#9c2317;--undecided:#76490a;--insecure:#8b1a56;--noted:#444;
--pass-wash:#fff;--fail-wash:#fff;--undecided-wash:#fff;--insecure-wash:#fff;--noted-wash:#fff}
html{font-size:11.5px}
body{line-height:1.45}
main{max-width:none;padding:0}
h2{margin-top:2.2rem}h3{margin-top:1.7rem}
h2,h3,h4,.lede{break-after:avoid}
.check,.rows>div,.answers li,.verdict,.reasons li{break-inside:avoid}
.check{padding:.6rem 0;grid-template-columns:7.5rem 1fr}
.pair{grid-template-columns:5.5rem 1fr;margin:.25rem 0}.ref{margin-top:.1rem}
.rows>div{grid-template-columns:13rem 1fr;padding:.3rem 0}
.answers li{grid-template-columns:10.5rem 1fr auto;padding:.4rem 0}
.answers .ask{grid-column:auto;grid-row:auto}
.record{break-inside:avoid}
.check.fail,.check.undecided,.check.insecure{margin-left:0;margin-right:0;padding:.6rem}
a{text-decoration:none}}
"""


def page_style(mark: str) -> str:
    """Margins of paper: every printed page tells the verdict and its own number. `mark` is a fixed text."""
    return (
        "@page{size:A4;margin:20mm 17mm 18mm;"
        f'@top-left{{content:"{mark}";font:600 8pt sans-serif}}'
        '@bottom-right{content:counter(page) " / " counter(pages);font:8pt sans-serif}}'
    )


def _symbol(name: str, path: str) -> str:
    return f'<symbol id="i-{name}" viewBox="0 0 24 24">{path}</symbol>'


_RING = '<circle cx="12" cy="12" r="10"/>'
ICONS = (
    '<svg hidden width="0" height="0" aria-hidden="true">'
    + _symbol("pass", f'{_RING}<path d="m7.5 12.5 3 3 6-7"/>')
    + _symbol("fail", f'{_RING}<path d="m8.5 8.5 7 7m0-7-7 7"/>')
    + _symbol("undecided", f'{_RING}<path d="M9.3 9.2a2.8 2.8 0 1 1 4 2.8c-.9.4-1.3 1-1.3 2m0 3v.1"/>')
    + _symbol("insecure", '<path d="M12 3 1.8 21h20.4zm0 7v5m0 3v.1"/>')
    + _symbol("hollow", '<path d="M12 3 1.8 21h20.4zm0 7v5m0 3v.1"/>')
    + _symbol("noted", f'{_RING}<path d="M12 11v6m0-10v.1"/>')
    + _symbol("unseen", f'{_RING}<path d="M8 12h8"/>')
    + "</svg>"
)
