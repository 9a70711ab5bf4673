// A point over the runs: its time or its rate, with intervals, by the start of each run.
const MOST_POINTS = 300;

// The points that at least two runs have, by their names: the rows of each run.
const pointsOverRuns = () => {
  const points = new Map();
  for (const run of runsInTime) {
    for (const [point, rows] of pointsOf(run)) {
      if (!launchesOf(rows).length) continue;
      if (points.has(point)) points.get(point).push({ run, rows }); else points.set(point, [{ run, rows }]);
    }
  }
  return new Map([...points].filter(([, runs]) => runs.length > 1));
};

// What a run has of a point; a rate is inverse to the time.
const historyItem = ({ run, rows }, before) => {
  const { value, interval } = summaryOf(rows), [row] = launchesOf(rows);
  const bytes = columns.rate[row] === null ? null : columns.rate[row] * columns.median_s[row];
  const against = before && comparePoint(before.rows, rows, data.rules.tolerance);
  return {
    run, rows, row, value, interval, against, rate: bytes === null ? null : bytes / value,
    rates: bytes === null || !interval ? null : [bytes / interval[1], bytes / interval[0]],
  };
};

const historyFigure = (items, asRate) => {
  const dated = items.filter(({ run }) => data.runs[run].started_s !== null);
  const scale = asRate ? 1e9 : 1e-6;
  const value = (item) => (asRate ? item.rate : item.value) / scale;
  const interval = (item) => (asRate ? item.rates : item.interval)?.map((end) => end / scale) ?? null;
  const trace = {
    type: "scatter", mode: "lines+markers", hovertemplate: "%{text}<extra></extra>",
    x: dated.map(({ run }) => new Date(data.runs[run].started_s * 1000).toISOString().slice(0, 19)),
    y: dated.map(value), error_y: bars(dated, value, interval, "var(--series-1)"),
    line: { color: "var(--series-1)", width: 2 }, marker: { color: "var(--series-1)", size: 8 },
    text: dated.map((item) => `<b>${plain(data.runs[item.run].started)}</b><br>${plain(data.runs[item.run].id)} on `
      + `${plain(data.runs[item.run].host)}<br>${time(item.value)}, ${giga(item.rate)} GB/s<br>${verdictOf(item.rows)}`),
  };
  const figure = figureOf(
    [trace], { title: title("start of the run, UTC"), type: "date", nticks: 4, tickangle: 0 },
    { title: title(asRate ? "GB/s" : "time, µs") },
  );
  figure.layout.showlegend = false; // the heading says what it is
  return figure;
};

const makeHistory = () => {
  if (!document.getElementById("history")) return () => {};
  const [search, choice, quantity] = ["history-search", "history-point", "history-quantity"].map((id) => document.getElementById(id));
  const place = document.getElementById("history-plot"), said = document.getElementById("history-state");
  let points = new Map(), names = new Map();
  const table = pagedTable(document.getElementById("history-table"), "The point in every run, the latest first", [
    column("Run", ({ run }) => data.runs[run].id), column("Started", ({ run }) => data.runs[run].started),
    column("Host", ({ run }) => data.runs[run].host), amount("Time", ({ value }) => value, time),
    column("95 %", ({ value, interval }) => (interval ? spread(value, ...interval) : ""), { numeric: true }),
    amount("GB/s", ({ rate }) => rate, giga),
    amount("Launches", ({ rows }) => launchesOf(rows).length, String),
    badge("Verdict", ({ rows }) => verdictOf(rows)),
    amount("Time / the run before", ({ against }) => against?.ratio ?? null, (ratio) => ratio.toFixed(3)),
    badge("Change", ({ against }) => against?.change ?? "", ({ against }) => CHANGE_MARKS[against.change]),
  ], ({ row }) => isElsewhere(row));

  const show = () => {
    const runs = choice.value === "" ? undefined : points.get(Number(choice.value));
    const items = runs ? runs.map((one, i) => historyItem(one, runs[i - 1])) : [];
    table.show([...items].reverse());
    if (!runs) return setFigure(place, null);
    const rated = items.every(({ rate }) => rate !== null);
    quantity.disabled = !rated;
    const asRate = rated && quantity.value === "rate";
    place.closest("figure").querySelector("h3").textContent = names.get(Number(choice.value));
    setFigure(place, () => historyFigure(items, asRate));
  };
  const list = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const named = [...names].filter(([, name]) => words.every((word) => name.toLowerCase().includes(word)));
    const before = choice.value;
    choice.replaceChildren(...named.slice(0, MOST_POINTS).map(([point, name]) => option(point, name)));
    if (named.some(([point]) => String(point) === before)) choice.value = before;
    const more = named.length > MOST_POINTS ? `, the first ${MOST_POINTS} listed` : "";
    said.textContent = `${named.length.toLocaleString("en")} points that at least two runs have${more}.`;
    show();
  };
  const update = () => {
    points = pointsOverRuns();
    names = new Map([...points].map(([point, runs]) => [point, pointName(runs[0].rows[0])]));
    list();
  };
  search.addEventListener("input", list);
  choice.addEventListener("change", show);
  quantity.addEventListener("change", show);
  return update;
};
