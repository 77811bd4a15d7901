"""The looks of the report and its charts, in light and dark."""

CHART_STYLE = """<style>
.chart{--ink:#1f2933;--faint:#5f6c79;--grid:#dfe4e9;--c0:#0b6fb8;--c1:#c95d00;--c2:#00806a;--c3:#b04a86;--c4:#7a5fd0;
--c5:#8a7300;--rest:#75828f;--inside:#fff;font:13px system-ui,-apple-system,"Segoe UI",sans-serif}
@media(prefers-color-scheme:dark){.chart{--ink:#e4e9ee;--faint:#9aa7b3;--grid:#36414c;--c0:#5bb0ee;--c1:#f29a4a;
--c2:#3fc6a4;--c3:#e48abf;--c4:#a996f2;--c5:#d3bb3c;--rest:#8492a0;--inside:#10161c}}
.chart text{fill:var(--ink)}.chart .tick,.chart .axis{fill:var(--faint);font-size:12px}.chart .title{font-weight:600}
.chart .grid{stroke:var(--grid)}.chart .line{fill:none;stroke-width:2.2;stroke-linejoin:round}
.chart .band{opacity:.12}.chart .inside{fill:var(--inside);font-size:12px;font-weight:600}
</style>"""
"""Goes into every picture, which so is the same in a page and as a file of its own."""

PAGE_STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1f2933;--faint:#5f6c79;--rule:#dfe4e9;--soft:#f4f6f8;--mark:#e6f1fa;
--accent:#0b6fb8;--heat:0%}
@media(prefers-color-scheme:dark){:root{--paper:#12171d;--ink:#e4e9ee;--faint:#9aa7b3;--rule:#2f3943;--soft:#1a2129;
--mark:#163049;--accent:#5bb0ee}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1000px;margin:0 auto;padding:32px 20px 80px}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 12px}
h2{font-size:1.3rem;margin:52px 0 12px;padding-top:14px;border-top:1px solid var(--rule)}
p{max-width:72ch;margin:10px 0;color:var(--ink)}
nav{display:flex;flex-wrap:wrap;gap:6px 18px;font-size:.92rem}
a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}
.wide{overflow-x:auto;margin:16px 0}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums;min-width:60%}
th,td{padding:4px 11px;border-bottom:1px solid var(--rule);text-align:right;white-space:nowrap;vertical-align:top}
.label{text-align:left}
small{display:block;color:var(--faint);font-size:.82em;font-weight:400}
thead th{color:var(--faint);font-weight:600;border-bottom:2px solid var(--rule)}
tr.marked{background:var(--mark)}tr.marked td{font-weight:600}
td[style]{background:color-mix(in srgb,var(--accent) calc(var(--heat)*.55),transparent)}
figure{margin:22px 0;max-width:720px}figure svg{width:100%;height:auto;display:block}
figcaption{color:var(--faint);font-size:.9rem;margin-top:6px;max-width:72ch}
details{border:1px solid var(--rule);border-radius:8px;margin:10px 0;background:var(--soft)}
summary{cursor:pointer;padding:10px 14px;font-weight:600;overflow-wrap:anywhere}
details[open] summary{border-bottom:1px solid var(--rule)}
dl{margin:0;padding:6px 14px 14px}
dt{color:var(--faint);font-size:.82rem;margin-top:12px;font-weight:600}
dd{margin:2px 0 0;white-space:pre-wrap;overflow-wrap:anywhere;font:13px/1.5 ui-monospace,Menlo,Consolas,monospace}
@media print{details>dl{display:block}h2{break-after:avoid}}
"""
