// The rows of all runs, as columns; see data.py. A row is known by its number everywhere.
const data = JSON.parse(document.getElementById("data").textContent);
const columns = data.rows;
const everyRow = [...Array(data.count).keys()];

const text = (name, row) => columns[name].values[columns[name].codes[row]];
const sizeText = (row) => text("shape", row) || size(columns.size_bytes[row]);
const isElsewhere = (row) => text("evidence", row) !== "measured" || text("origin", row) !== "own";
const evidence = (row) => text("evidence", row) + (text("origin", row) === "own" ? "" : `, ${text("origin", row)}`);
const runOf = (row) => data.runs[columns.run[row]];
const runName = (run) => `${run.started || "start not recorded"} · ${run.host} · ${run.id}`;

// The runs by their start, those whose start is unknown at the end.
const runsInTime = data.runs.map((run, number) => number)
  .sort((a, b) => (data.runs[a].started_s ?? Infinity) - (data.runs[b].started_s ?? Infinity) || a - b);

// What a point is called, with what tells it from others.
const pointName = (row) => {
  const ranks = columns.ranks[row] > 1 ? `, ${columns.ranks[row]} ranks` : "";
  return `${text("what", row)}, ${sizeText(row)}${ranks}${isElsewhere(row) ? ` (${evidence(row)})` : ""}`;
};

const element = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) made.setAttribute(name, value);
  made.append(...children);
  return made;
};
