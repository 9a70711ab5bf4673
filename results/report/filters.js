// Which rows are shown: of every field any of the values that are ticked, and all where none is.
const ticked = Object.fromEntries(Object.keys(data.filters).map((name) => [name, new Set()]));
const passing = new Uint8Array(data.count).fill(1);
const passes = (row) => passing[row] === 1;

const filterRows = () => {
  const active = Object.entries(ticked).filter(([, codes]) => codes.size);
  for (const row of everyRow) {
    passing[row] = active.every(([name, codes]) => codes.has(columns[name].codes[row])) ? 1 : 0;
  }
  return active.length;
};

const makeFilters = (changed) => {
  const host = document.getElementById("filter-fields"), state = document.getElementById("filter-state");
  const apply = () => {
    const active = filterRows();
    const shown = everyRow.filter(passes).length;
    state.textContent = `${shown.toLocaleString("en")} of ${data.count.toLocaleString("en")} rows`;
    document.getElementById("filter-reset").hidden = active === 0;
    changed();
  };
  for (const [name, title] of Object.entries(data.filters)) {
    const { values, codes } = columns[name];
    if (values.length < 2) continue;
    const counts = values.map(() => 0);
    for (const code of codes) counts[code] += 1;
    const options = values.map((value, code) => {
      const box = element("input", { type: "checkbox", value, "data-field": name });
      box.addEventListener("change", () => {
        if (box.checked) ticked[name].add(code); else ticked[name].delete(code);
        apply();
      });
      return [value, element("label", {}, box, ` ${value || "(none)"} `, element("span", { class: "muted" }, `${counts[code]}`))];
    });
    options.sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true }));
    const list = element("div", { class: "options" }, ...options.map(([, label]) => label));
    host.append(element("fieldset", {}, element("legend", {}, title), list));
  }
  document.getElementById("filter-reset").addEventListener("click", () => {
    for (const codes of Object.values(ticked)) codes.clear();
    for (const box of host.querySelectorAll("input")) box.checked = false;
    apply();
  });
  apply();
};

// What the server has written: a row of a table that stands for rows of data, and the table that has none left.
const filterStillTables = () => {
  for (const table of document.querySelectorAll("table.still")) {
    const rows = [...table.tBodies[0].rows];
    for (const row of rows) row.hidden = "rows" in row.dataset && !row.dataset.rows.split(" ").some((number) => passes(+number));
    table.closest(".scroll").hidden = rows.every((row) => row.hidden);
  }
};

const countVerdicts = () => {
  const { values, codes } = columns.verdict;
  const counts = Object.fromEntries(values.map((value) => [value, 0]));
  for (const row of everyRow) if (passes(row)) counts[values[codes[row]]] += 1;
  for (const tile of document.querySelectorAll(".tile")) {
    const count = counts[tile.dataset.verdict] ?? 0;
    tile.querySelector(".count").textContent = count.toLocaleString("en");
    tile.classList.toggle("none", count === 0);
  }
};
