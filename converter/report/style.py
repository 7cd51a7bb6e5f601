"""How reports look: light and dark as the reader's system is, on a phone, and on paper. No file is fetched."""

STYLE = """
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#1b2430;--soft:#5b6776;--line:#dde2e8;
--a:#2f6fde;--b:#d9822b;--c:#1f9d8b;--d:#8a5cd6;--e:#c2487a;--good:#1b7f4b;--bad:#b3261e;--good-back:#e3f4ea;--bad-back:#fbe6e4}
@media (prefers-color-scheme:dark){:root{--page:#12161c;--card:#1b2129;--ink:#e6eaf0;--soft:#9aa7b6;--line:#303944;
--a:#6ea3ff;--b:#f0a557;--c:#4cc9b5;--d:#b48cf2;--e:#ea7fa9;--good:#67d29a;--bad:#ff8f86;--good-back:#16331f;--bad-back:#3b1a18}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:20px 16px 48px}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin:0 0 10px}h3{font-size:.95rem;margin:14px 0 6px}
p{margin:0 0 8px}.soft,figcaption{color:var(--soft);font-size:.87rem}
section,.verdict{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:16px;margin:14px 0}
.verdict{padding:10px 16px;font-weight:600}
.good{color:var(--good);background:var(--good-back)}.bad{color:var(--bad);background:var(--bad-back)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:10px;margin:14px 0}
.tile{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:10px 14px}
.tile b{display:block;font-size:1.3rem;line-height:1.3}.tile span{color:var(--soft);font-size:.85rem}
.scroll{overflow-x:auto;margin-bottom:10px}
table{border-collapse:collapse;min-width:min(100%,26rem);font-size:.88rem}
th,td{text-align:left;padding:4px 18px 4px 0;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--soft);font-weight:600}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td.name{overflow-wrap:anywhere;min-width:9em}
pre{margin:0;white-space:pre-wrap;overflow-wrap:anywhere;font-size:.82rem}
code{overflow-wrap:anywhere}
ul{margin:0;padding-left:1.2em}
svg{max-width:100%;height:auto;display:block}
figure{margin:0 0 10px}.wide{overflow-x:auto}.wide svg{min-width:620px}
.pair{display:flex;flex-wrap:wrap;gap:8px 28px}.pair>*{min-width:0}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(200px,1fr));gap:12px}
.cell{border:1px solid var(--line);border-radius:8px;padding:8px;overflow-wrap:anywhere;font-size:.85rem;
break-inside:avoid}
.cell img{display:block;width:96px;height:96px;object-fit:contain;image-rendering:pixelated;margin-bottom:6px}
.was{color:var(--soft)}
.key{display:flex;flex-wrap:wrap;gap:4px 16px;margin:0 0 8px;font-size:.85rem;color:var(--soft)}
.key i{display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:6px}
details>summary{cursor:pointer;color:var(--soft);margin:8px 0}
.f-a{fill:var(--a)}.f-b{fill:var(--b)}.f-c{fill:var(--c)}.f-d{fill:var(--d)}.f-e{fill:var(--e)}
.k-a{background:var(--a)}.k-b{background:var(--b)}.k-c{background:var(--c)}.k-d{background:var(--d)}.k-e{background:var(--e)}
.axis{stroke:var(--line);fill:none}.front{stroke:var(--a);fill:none;stroke-width:1.5;stroke-dasharray:4 3}
.ring{fill:none;stroke:var(--good);stroke-width:2}
svg text{fill:var(--soft);font:11px system-ui,sans-serif}svg text.strong{fill:var(--ink)}
@media print{:root{color-scheme:light;--page:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#bbb;
--a:#2f6fde;--b:#d9822b;
--c:#1f9d8b;--d:#8a5cd6;--e:#c2487a;--good:#1b7f4b;--bad:#b3261e}
body{font-size:11px}main{max-width:none;padding:0}section{break-inside:auto;border:0;padding:8px 0}
h2,h3{break-after:avoid}tr,figure{break-inside:avoid}}
"""
