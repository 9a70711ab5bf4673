// Several runs: which one is shown, what two of them differ in, and what changed from run to run.
const option = (value, label) => element("option", { value: String(value) }, label);

const makeRunChoice = (changed) => {
  const articles = [...document.querySelectorAll("article")], choice = document.getElementById("run");
  const show = (run) => {
    articles.forEach((article, number) => { article.hidden = number !== run; });
    if (choice) choice.value = String(run);
    changed();
  };
  // A link to a part of another run shows that run first.
  const follow = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const run = target ? articles.indexOf(target.closest("article")) : -1;
    if (run >= 0 && articles[run].hidden) { show(run); target.scrollIntoView(); }
  };
  if (choice) {
    [...runsInTime].reverse().forEach((run) => choice.append(option(run, runName(data.runs[run]))));
    choice.value = String(articles.findIndex((article) => !article.hidden));
    choice.addEventListener("change", () => show(Number(choice.value)));
  }
  window.addEventListener("hashchange", follow);
  follow();
};

const CHANGE_MARKS = { worse: "fail", better: "pass", "cannot tell": "inconclusive", same: "measured" };
const CHANGE_LOOKS = {
  worse: ["var(--fail)", "triangle-up"], better: ["var(--pass)", "triangle-down"],
  "cannot tell": ["var(--inconclusive)", "circle-open"], same: ["var(--muted)", "circle"],
};
const AXIS = { gridcolor: "var(--line)", linecolor: "var(--line)", zeroline: false, ticks: "outside", tickcolor: "var(--line)", automargin: true };
const figureOf = (traces, x, y) => ({
  data: traces,
  layout: {
    template: {}, autosize: true, margin: { l: 10, r: 16, t: 16, b: 10 },
    font: { family: "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", size: 14, color: "var(--ink)" },
    paper_bgcolor: "var(--clear)", plot_bgcolor: "var(--clear)", showlegend: true,
    hoverlabel: { bgcolor: "var(--card)", bordercolor: "var(--line)", font: { color: "var(--ink)" }, align: "left" },
    legend: { orientation: "h", x: 0, y: -0.24, yanchor: "top", font: { size: 14 } },
    xaxis: { ...AXIS, ...x }, yaxis: { ...AXIS, ...y },
  },
});
// Text for plotly, which reads markup.
const plain = (value) => value.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const title = (words) => ({ text: words, standoff: 10 });

const bars = (items, value, interval, colour) => ({
  type: "data", symmetric: false, thickness: 1.2, width: 3, color: colour,
  array: items.map((item) => (interval(item) ? interval(item)[1] - value(item) : 0)),
  arrayminus: items.map((item) => (interval(item) ? value(item) - interval(item)[0] : 0)),
});

const ratioFigure = (found) => {
  const timed = found.filter(({ ratio }) => ratio !== null);
  const traces = ORDER.map((change) => {
    const items = timed.filter((item) => item.change === change), [colour, symbol] = CHANGE_LOOKS[change];
    return items.length && {
      type: "scatter", mode: "markers", name: `${change} (${items.length})`, hovertemplate: "%{text}<extra></extra>",
      x: items.map(({ row }) => columns.size_bytes[row]), y: items.map(({ ratio }) => ratio),
      error_y: bars(items, ({ ratio }) => ratio, ({ interval }) => interval, colour),
      marker: { color: colour, symbol, size: 9 },
      text: items.map((item) => `<b>${plain(pointName(item.row))}</b><br>B/A ${digits(item.ratio)} ${intervalText(item)}`),
    };
  }).filter(Boolean);
  const powers = timed.map(({ row }) => Math.log2(Math.max(1, columns.size_bytes[row])));
  const low = Math.floor(Math.min(...powers)), step = Math.max(1, Math.ceil((Math.max(...powers) - low) / 6));
  const ticks = [...Array(8).keys()].map((i) => 2 ** (low + i * step));
  return figureOf(
    traces,
    { title: title("size, bytes (K = 1024)"), type: "log", tickvals: ticks, ticktext: ticks.map(size) },
    { title: title("time of B / time of A"), type: "log", tickformat: ".3~g" },
  );
};

const intervalText = ({ interval }) => (interval ? `${interval[0].toFixed(3)} .. ${interval[1].toFixed(3)}` : "");

const makeComparison = () => {
  if (!document.getElementById("comparison")) return () => {};
  const [a, b, allowed] = ["compare-a", "compare-b", "tolerance"].map((id) => document.getElementById(id));
  const said = document.getElementById("compare-counts"), place = document.getElementById("compare-plot");
  for (const choice of [a, b]) runsInTime.forEach((run) => choice.append(option(run, runName(data.runs[run]))));
  [a.value, b.value] = runsInTime.slice(-2).map(String);
  allowed.value = String(data.rules.tolerance * 100);
  const ofRow = (head) => ({
    ...head, shown: ({ row }) => head.shown(row), sort: ({ row }) => head.sort(row),
    mark: head.mark && (({ row }) => head.mark(row)),
  });
  const table = pagedTable(document.getElementById("compare-table"), "Points of both runs, the worse first", [
    ofRow(COLUMNS.what), ofRow(COLUMNS.size),
    badge("Change", ({ change }) => change, ({ change }) => CHANGE_MARKS[change]),
    amount("B / A", (item) => item.ratio, (ratio) => ratio.toFixed(3)),
    column("95 %", intervalText, { numeric: true, sort: ({ interval }) => (interval ? interval[0] : "") }),
    amount("Time A", (item) => item.a, time), amount("Time B", (item) => item.b, time), ofRow(COLUMNS.ranks),
    column("Launches", ({ launches }) => launches.join(" / "), { numeric: true, sort: ({ launches }) => launches[1] }),
    column("Why", ({ reason }) => reason), ofRow(COLUMNS.evidence),
  ], ({ row }) => isElsewhere(row));
  const settings = pagedTable(document.getElementById("compare-environment"), "What differs in the environment", [
    column("Setting", ({ name }) => name), column("A", ({ before }) => before), column("B", ({ now }) => now),
  ]);
  const update = () => {
    const runs = [Number(a.value), Number(b.value)], percent = Number(allowed.value);
    const tolerance = percent > 0 && percent < 100 ? percent / 100 : data.rules.tolerance;
    const { found, onlyA, onlyB } = compareRuns(...runs, tolerance);
    const counts = ORDER.map((change) => `${found.filter((item) => item.change === change).length} ${change}`);
    said.textContent = found.length
      ? `${counts.join(", ")}; only in A ${onlyA}, only in B ${onlyB}.`
      : "These two runs have no point in common that passes the filters.";
    table.show(found);
    settings.show(environmentChanges(...runs));
    setFigure(place, found.some(({ ratio }) => ratio !== null) ? () => ratioFigure(found) : null);
  };
  for (const choice of [a, b, allowed]) choice.addEventListener("change", update);
  return update;
};

// The settings in which two runs differ; empty where one of them has none of that name.
const environmentChanges = (a, b) => {
  const { names, texts, codes } = data.environment;
  const differing = [...names.keys()].filter((i) => codes[a][i] !== codes[b][i]);
  return differing.map((i) => ({ name: names[i], before: texts[codes[a][i]] ?? "", now: texts[codes[b][i]] ?? "" }));
};

// What changed from run to run of each host.
const makeEnvironment = () => {
  const host = document.getElementById("environment-table");
  if (!host) return;
  const before = new Map(), found = [];
  for (const run of runsInTime) {
    const earlier = before.get(data.runs[run].host);
    if (earlier !== undefined) found.unshift(...environmentChanges(earlier, run).map((change) => ({ run, ...change })));
    before.set(data.runs[run].host, run);
  }
  document.getElementById("environment-none").hidden = found.length > 0;
  pagedTable(host, "What changed since the run before on the same host, the latest first", [
    column("Run", ({ run }) => data.runs[run].id), column("Started", ({ run }) => data.runs[run].started),
    column("Host", ({ run }) => data.runs[run].host), column("Setting", ({ name }) => name),
    column("Before", (item) => item.before), column("Now", ({ now }) => now),
  ]).show(found);
};
