"""The page of the preview: the stream, and what was said of the newest picture. It asks nobody else for anything."""

PAGE = b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>edge-agent preview</title>
<style>
  body { margin: 0; padding: 1rem; background: #16181c; color: #e8eaed; font: 16px/1.4 system-ui, sans-serif }
  main { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start }
  img { max-width: 100%; background: #000; min-width: 160px; min-height: 90px }
  h1 { margin: 0 0 .5rem; font-size: 1.1rem; font-weight: 600 }
  table { border-collapse: collapse; font-variant-numeric: tabular-nums }
  td { padding: .1rem .8rem .1rem 0; vertical-align: top }
  #about { color: #9aa0a6; font-size: .85rem; margin: .5rem 0 0 }
</style>
</head>
<body>
<main>
  <img src="/stream.mjpg" alt="The newest picture with what was found drawn in">
  <section>
    <h1 id="pipeline">&nbsp;</h1>
    <table id="results"></table>
    <p id="about"></p>
  </section>
</main>
<script src="/page.js"></script>
</body>
</html>
"""

SCRIPT = b"""'use strict';
const at = id => document.getElementById(id);

function said(stage, each) {
  const value = 'value' in each ? `${each.value} ${each.unit || ''}`
    : 'share' in each ? `${(100 * each.share).toFixed(1)} %` : `${(100 * each.score).toFixed(0)} %`;
  return [stage, each.label ?? `#${each.index}`, value];
}

function show(tree) {
  const stages = tree.stages ?? {'': tree};
  const rows = [];
  for (const [name, answer] of Object.entries(stages))
    for (const each of answer.results.slice(0, 20)) rows.push(said(name, each));
  at('results').replaceChildren(...rows.map(cells => {
    const row = document.createElement('tr');
    for (const text of cells)
      if (text !== '') row.appendChild(document.createElement('td')).textContent = text;
    return row;
  }));
  const steps = Object.values(stages).flatMap(answer => Object.values(answer.latency_ms));
  const ms = steps.reduce((sum, each) => sum + each, 0);
  at('pipeline').textContent = tree.pipeline;
  at('about').textContent = `${tree.input} \\u00b7 ${tree.at} \\u00b7 ${ms.toFixed(1)} ms`;
}

async function look() {
  try {
    const answer = await fetch('/results.json');
    if (answer.ok) show(await answer.json());
  } catch {
    at('about').textContent = 'no answer from the agent';
  }
  setTimeout(look, document.hidden ? 5000 : 500);
}
look();
"""
