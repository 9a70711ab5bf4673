// Tables that are made from rows of data, a page at a time, and the sorting of all tables.
const PAGE = 50;

// Empty cells stay at the end whichever way a column is sorted.
const compareCells = (a, b, sign) => {
  if (a === "" || b === "") return (a === "") - (b === "");
  const x = Number(a), y = Number(b);
  return sign * (Number.isNaN(x) || Number.isNaN(y) ? `${a}`.localeCompare(`${b}`, "en", { numeric: true }) : x - y);
};

const turn = (head) => {
  const direction = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", direction);
  return direction === "ascending" ? 1 : -1;
};

const sortStillTables = () => {
  for (const head of document.querySelectorAll("table.still thead th")) {
    head.querySelector("button").addEventListener("click", () => {
      const sign = turn(head), body = head.closest("table").tBodies[0], column = head.cellIndex;
      const rows = [...body.rows].map((row) => [row.cells[column].dataset.sort, row]);
      rows.sort(([a], [b]) => compareCells(a, b, sign));
      body.append(...rows.map(([, row]) => row));
    });
  }
};

const column = (head, shown, more = {}) => ({ head, shown, sort: shown, ...more });
const amount = (head, value, shown, more = {}) =>
  column(head, (item) => (value(item) === null ? NOTHING : shown(value(item), item)), {
    numeric: true, sort: (item) => value(item) ?? "", ...more,
  });
const badge = (head, shown, mark = (item) => shown(item).toLowerCase().replaceAll(" ", "-")) => column(head, shown, { mark });

// Columns that several tables of rows have.
const stored = (name) => (row) => columns[name][row];
const COLUMNS = {
  run: column("Run", (row) => runOf(row).id),
  suite: column("Suite", (row) => text("suite", row)),
  what: column("What", (row) => text("what", row)),
  size: column("Size", sizeText, { numeric: true, sort: stored("size_bytes") }),
  ranks: amount("Ranks", stored("ranks"), String),
  time: amount("Time", stored("median_s"), time),
  spread: amount(
    "95 %", (row) => halfWidth(columns.median_s[row], columns.low_s[row], columns.high_s[row]),
    (half) => `± ${digits(half * 100, 2)} %`,
  ),
  samples: amount("Samples", stored("n"), (n) => n.toLocaleString("en")),
  rate: amount("GB/s", stored("rate"), giga),
  bound: amount("Of bound", stored("bound_share"), share),
  boundBy: column("Limited by", (row) => text("bound_by", row)),
  wrong: amount("Wrong", stored("wrong"), String),
  verdict: badge("Verdict", (row) => text("verdict", row)),
  evidence: badge("Evidence", evidence, (row) => (text("origin", row) === "own" ? text("evidence", row) : "imported")),
  reason: column("Reason", (row) => text("reason", row)),
  culprit: column("Culprit", (row) => text("culprit", row)),
  host: column("Host", (row) => text("host", row)),
  note: column("Note", (row) => text("note", row)),
};

// A table with pages in `host`; `show` gives it items, in the order in which they stand while no column is sorted.
const pagedTable = (host, caption, heads, elsewhere = () => false, page = PAGE) => {
  const label = `${host.id}-caption`;
  const body = element("tbody"), row = element("tr");
  const table = element(
    "table", { id: `${host.id}-table` }, element("caption", { id: label }, caption), element("thead", {}, row), body,
  );
  const region = element("div", { class: "scroll", role: "region", "aria-labelledby": label, tabindex: "0" }, table);
  const place = element("span", { role: "status" });
  const back = element("button", { type: "button", class: "toggle" }, "Previous");
  const on = element("button", { type: "button", class: "toggle" }, "Next");
  const pages = element("nav", { class: "pages", "aria-label": `Pages of: ${caption}` }, back, place, on);
  let items = [], ordered = [], sorting = null, first = 0;

  const cell = (item, head, tag) => {
    const shown = head.shown(item), kind = head.numeric ? "number" : shown.length > 40 ? "wrap" : null;
    const content = head.mark && shown ? element("span", { class: `badge ${head.mark(item)}` }, shown) : shown || NOTHING;
    return element(tag, { class: kind, scope: tag === "th" ? "row" : null }, content);
  };
  const draw = () => {
    const used = heads.map((head) => items.some((item) => head.sort(item) !== ""));
    [...row.cells].forEach((head, i) => { head.hidden = !used[i]; });
    body.replaceChildren(...ordered.slice(first, first + page).map((item) => {
      const cells = heads.filter((head, i) => used[i]).map((head, i) => cell(item, head, i ? "td" : "th"));
      return element("tr", { class: elsewhere(item) ? "elsewhere" : null }, ...cells);
    }));
    const last = Math.min(first + page, ordered.length), total = ordered.length.toLocaleString("en");
    place.textContent = `${(first + 1).toLocaleString("en")}–${last.toLocaleString("en")} of ${total}`;
    back.disabled = first === 0;
    on.disabled = last === ordered.length;
    pages.hidden = ordered.length <= page;
    host.hidden = ordered.length === 0;
  };
  const order = () => {
    first = 0;
    ordered = items;
    if (sorting) {
      const keyed = items.map((item) => [sorting.head.sort(item), item]);
      keyed.sort(([a], [b]) => compareCells(a, b, sorting.sign));
      ordered = keyed.map(([, item]) => item);
    }
    draw();
  };
  for (const head of heads) {
    const button = element("button", { type: "button" }, head.head, element("span", { class: "arrow", "aria-hidden": "true" }));
    const top = element("th", { scope: "col", class: head.numeric ? "number" : null }, button);
    button.addEventListener("click", () => { sorting = { head, sign: turn(top) }; order(); });
    row.append(top);
  }
  const go = (by) => { first += by * page; draw(); region.scrollTop = 0; };
  back.addEventListener("click", () => go(-1));
  on.addEventListener("click", () => go(1));
  host.append(region, pages);
  return { show: (found) => { items = found; order(); } };
};
