const makeTheme = (changed) => {
  const root = document.documentElement, button = document.getElementById("theme");
  const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
  // A browser may forbid storage to a page opened from a file: the choice then lasts as long as the page.
  const remembered = () => { try { return localStorage.getItem("clusterbench-theme"); } catch { return null; } };
  const remember = (theme) => { try { localStorage.setItem("clusterbench-theme", theme); } catch { /* see above */ } };
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches);
  const label = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", isDark() ? "Switch to light colours" : "Switch to dark colours");
  };
  const kept = remembered();
  if (kept === "light" || kept === "dark") root.dataset.theme = kept;
  button.hidden = false;
  label();
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remember(root.dataset.theme);
    label();
    changed();
  });
  prefersDark.addEventListener("change", () => { label(); changed(); });
};

const FEW = 10; // problems at a time, so that the overview stays one

const makeTables = () => {
  const graver = (a, b) => GRAVITY.indexOf(text("verdict", a)) - GRAVITY.indexOf(text("verdict", b));
  const problems = pagedTable(
    document.getElementById("problems"), "Rows that cannot be, that failed, and that nothing can be told of",
    ["verdict", "what", "size", "ranks", "reason", "culprit", "evidence", "run"].map((name) => COLUMNS[name]),
    isElsewhere, FEW,
  );
  const all = pagedTable(
    document.getElementById("all-rows"),
    "All rows; GB/s is bus bandwidth for collectives and messages, memory traffic for kernels",
    ["suite", "what", "size", "ranks", "time", "spread", "samples", "rate", "bound", "boundBy", "wrong", "verdict",
      "evidence", "reason", "culprit", "note", "host", "run"].map((name) => COLUMNS[name]),
    isElsewhere,
  );
  return () => {
    const shown = everyRow.filter(passes);
    const bad = shown.filter((row) => GRAVITY.slice(0, 3).includes(text("verdict", row))).sort(graver);
    problems.show(bad);
    document.getElementById("no-problems").hidden = bad.length > 0 || shown.length === 0;
    all.show(shown);
  };
};

if (data.runs.length) {
  sortStillTables();
  const updateFigures = makeFigures();
  const parts = [makeTables(), makeComparison(), makeHistory()];
  makeEnvironment();
  const updateAll = () => {
    filterStillTables();
    countVerdicts();
    updateFigures();
    for (const update of parts) update();
  };
  makeTheme(updateAll);
  makeRunChoice(updateFigures);
  makeFilters(updateAll);
  document.getElementById("filters").hidden = false;
  document.body.dataset.ready = "";
}
