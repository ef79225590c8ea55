"""Style of a page: light or dark as the reader's system is, from 360 px up."""

CSS = """
:root {
  --ink: #1d2430; --faint: #66707f; --line: #dfe3e9; --back: #ffffff; --panel: #f6f7f9;
  --better: #1a7f4b; --worse: #b3261e; --unclear: #7a6a00; --link: #1f6fb5;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e4e8ee; --faint: #98a2b1; --line: #313945; --back: #14181e; --panel: #1c222a;
    --better: #4cc38a; --worse: #ff8a80; --unclear: #d9c25a; --link: #6db3f2;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 56px; }
body {
  margin: 0; background: var(--back); color: var(--ink); line-height: 1.5; font-size: 15px;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
header, main { max-width: 1120px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 36px; }
header p { color: var(--faint); margin: 0 0 16px; max-width: 80ch; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 6px; text-wrap: balance; }
h2 { font-size: 20px; margin: 0 0 12px; }
h3 { font-size: 16px; margin: 20px 0 6px; }
nav {
  position: sticky; top: 0; z-index: 5; background: var(--back); overflow-x: auto;
  border-bottom: 1px solid var(--line); display: flex; gap: 20px; white-space: nowrap;
  padding: 10px max(20px, calc((100% - 1120px) / 2 + 20px));
}
nav a { color: var(--faint); text-decoration: none; font-size: 14px; }
nav a:hover, nav a:focus { color: var(--link); text-decoration: underline; }
section { padding: 30px 0 6px; }
section + section { border-top: 1px solid var(--line); }
section > p { max-width: 80ch; }
.note, small { color: var(--faint); font-size: 12.5px; }
.note { max-width: 90ch; margin: 6px 0 18px; }
.tiles { display: grid; gap: 12px; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); }
.tile { background: var(--panel); border-radius: 10px; border-top: 4px solid; padding: 10px 14px; }
.tile span, .tile small { display: block; }
.tile b { font-size: 26px; line-height: 1.25; font-variant-numeric: tabular-nums; }
.findings { list-style: none; padding: 0; margin: 18px 0; display: grid; gap: 8px; }
.findings li { padding: 2px 0 2px 30px; position: relative; max-width: 96ch; }
.findings li::before { position: absolute; left: 4px; font-weight: 700; content: "·"; }
.findings .better::before { content: "▲"; color: var(--better); }
.findings .worse::before { content: "▼"; color: var(--worse); }
.findings .unclear::before { content: "≈"; color: var(--unclear); font-size: 19px; line-height: 1; }
.scroll { overflow-x: auto; margin: 10px 0; }
table { min-width: min(100%, 820px); border-collapse: collapse; }
table { font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 5px 14px; vertical-align: top; white-space: nowrap; }
th:first-child { text-align: left; padding-left: 0; position: sticky; left: 0; }
th:first-child { background: var(--back); }
thead th { border-bottom: 3px solid var(--line); font-weight: 600; vertical-align: bottom; }
tbody tr { border-bottom: 1px solid var(--line); }
tbody th { font-weight: 400; }
tr.group th { color: var(--faint); font-size: 12.5px; padding-top: 14px; }
td small { display: block; line-height: 1.25; }
td.best { font-weight: 700; }
td.best small { font-weight: 400; }
td.better { color: var(--better); }
td.worse { color: var(--worse); }
/* Plotly's own color of a pressed button, which no option changes. */
.updatemenu-item-rect[style*="244, 250, 255"] { fill: var(--line) !important; }
.chart { margin: 10px 0 22px; }
.plot { width: 100%; }
pre {
  background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px;
  white-space: pre-wrap; overflow-wrap: anywhere; font-size: 13px; line-height: 1.45;
}
details { margin: 10px 0 16px; }
summary { cursor: pointer; color: var(--link); }
@media (max-width: 560px) {
  body { font-size: 14px; }
  header, main { padding-left: 14px; padding-right: 14px; }
  nav { padding-left: 14px; gap: 16px; }
  h1 { font-size: 23px; }
  th, td { padding: 5px 8px; }
  table { font-size: 13px; }
  .tiles { grid-template-columns: repeat(2, 1fr); }
  .tile:first-child:nth-last-child(odd) { grid-column: 1 / -1; }
}
@media print { nav { display: none; } section { break-inside: avoid-page; } }
"""
