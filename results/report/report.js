"use strict";
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");

  // A browser may forbid storage to a page opened from a file: the choice then lasts as long as the page.
  const remembered = () => { try { return localStorage.getItem("clusterbench-theme"); } catch { return null; } };
  const remember = (theme) => { try { localStorage.setItem("clusterbench-theme", theme); } catch { /* see above */ } };

  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches);

  // Figures name colours as var(--name); plotly wants values, so they are looked up for the theme that is on.
  const resolved = (value, style) => {
    if (typeof value === "string") {
      const found = /^var\((--[a-z0-9-]+)\)$/.exec(value);
      return found ? style.getPropertyValue(found[1]).trim() : value;
    }
    if (Array.isArray(value)) return value.map((part) => resolved(part, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, resolved(part, style)]));
    }
    return value;
  };

  const figures = [...document.querySelectorAll("script.figure")].map((script) => ({
    plot: document.getElementById(script.dataset.for),
    spec: JSON.parse(script.textContent),
  }));
  const config = {
    responsive: true,
    displaylogo: false,
    displayModeBar: false,
    scrollZoom: false,
  };

  const draw = async () => {
    const style = getComputedStyle(root);
    const narrow = window.matchMedia("(max-width: 40rem)").matches;
    for (const { plot, spec } of figures) {
      const { data, layout } = resolved(spec, style);
      // A legend takes a line for each entry on a phone: the figure grows, the drawing keeps its height.
      const rows = narrow ? data.length : Math.ceil(data.length / 2);
      layout.height = 380 + 26 * rows;
      layout.legend.y = -74 / (layout.height - 26 * rows - 40);
      // A matrix has no legend and is square.
      if (layout.showlegend === false) layout.height = Math.max(320, Math.min(plot.clientWidth, 620));
      plot.style.minHeight = `${layout.height}px`;
      layout.dragmode = narrow ? false : "zoom";
      await Plotly.react(plot, data, layout, config);
    }
    document.body.dataset.drawn = String(figures.length);
  };

  const showTheme = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", isDark() ? "Switch to light colours" : "Switch to dark colours");
    return draw();
  };
  const kept = remembered();
  if (kept === "light" || kept === "dark") root.dataset.theme = kept;
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remember(root.dataset.theme);
    showTheme();
  });
  prefersDark.addEventListener("change", showTheme);

  // Empty cells stay at the end whichever way a column is sorted.
  const compare = (a, b, sign) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const x = Number(a), y = Number(b);
    return sign * (Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y);
  };
  for (const head of document.querySelectorAll("thead th")) {
    head.querySelector("button").addEventListener("click", () => {
      const table = head.closest("table"), body = table.tBodies[0], column = head.cellIndex;
      const direction = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
      for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", direction);
      const sign = direction === "ascending" ? 1 : -1;
      const rows = [...body.rows].map((row) => [row.cells[column].dataset.sort, row]);
      rows.sort(([a], [b]) => compare(a, b, sign));
      body.append(...rows.map(([, row]) => row));
    });
  }

  showTheme();
})();
