// Figures are drawn when they come into view, in the colours of the theme that is on, without the rows that are
// filtered out.
const CONFIG = { responsive: true, displaylogo: false, displayModeBar: false, scrollZoom: false };

// Figures name colours as var(--name); plotly wants values, so they are looked up for the theme that is on.
const resolved = (value, style) => {
  if (typeof value === "string") {
    const found = /^var\((--[a-z0-9-]+)\)$/.exec(value);
    return found ? style.getPropertyValue(found[1]).trim() : value;
  }
  if (Array.isArray(value)) return typeof value[0] === "number" ? value.slice() : value.map((part) => resolved(part, style));
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, resolved(part, style)]));
  }
  return value;
};

// A trace with the points whose rows pass; null where it has none. A matrix stays whole while one of its rows does.
const filtered = (trace) => {
  if (!trace.meta) return trace;
  const kept = [...trace.meta.keys()].filter((i) => passes(trace.meta[i]));
  if (kept.length === trace.meta.length || (trace.type === "heatmap" && kept.length)) return trace;
  if (!kept.length) return null;
  const pick = (values) => (Array.isArray(values) ? kept.map((i) => values[i]) : values);
  const { x, y, text: texts, error_y: bars, marker } = trace;
  return {
    ...trace, x: pick(x), y: pick(y), text: pick(texts),
    ...(bars && { error_y: { ...bars, array: pick(bars.array), arrayminus: pick(bars.arrayminus) } }),
    ...(marker && { marker: { ...marker, size: pick(marker.size) } }),
  };
};

const plot = (place, spec) => {
  const narrow = window.matchMedia("(max-width: 40rem)").matches;
  const { data: traces, layout } = resolved(spec, getComputedStyle(document.documentElement));
  // A legend takes a line for each entry on a phone: the figure grows, the drawing keeps its height.
  const named = layout.showlegend ? traces.length : 0, rows = narrow ? named : Math.ceil(named / 2);
  layout.height = 380 + 26 * rows;
  layout.legend.y = -74 / (layout.height - 26 * rows - 40);
  if (narrow && layout.xaxis.tickvals) Object.assign(layout.xaxis, { tickangle: 0, tickfont: { size: 11 } });
  // A matrix is square.
  if (traces[0].type === "heatmap") layout.height = Math.max(320, Math.min(place.clientWidth, 620));
  place.style.minHeight = `${layout.height}px`;
  layout.dragmode = narrow ? false : "zoom";
  return Plotly.react(place, traces, layout, CONFIG);
};

const places = new Map();
let drawnFigures = 0;
const drawPlace = (place) => {
  const state = places.get(place);
  if (!state.stale || !state.spec) return;
  if (!state.drawn) drawnFigures += 1;
  state.stale = false;
  state.drawn = true;
  plot(place, state.spec());
  document.body.dataset.drawn = String(drawnFigures);
};
const inView = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    places.get(target).inView = isIntersecting;
    if (isIntersecting) drawPlace(target);
  }
}, { rootMargin: "300px" });

// Give a place its figure, as a function that makes it when it comes into view; null hides the place.
const setFigure = (place, spec) => {
  if (!places.has(place)) {
    places.set(place, { spec: null, stale: true, drawn: false, inView: false });
    inView.observe(place);
  }
  const state = places.get(place);
  Object.assign(state, { spec, stale: true });
  place.closest("figure").hidden = !spec;
  if (state.inView) drawPlace(place);
};

// The figures of the run that is shown, with the rows that pass.
const makeFigures = () => {
  const scripts = [...document.querySelectorAll("script.figure")];
  // Paper shows every figure.
  window.addEventListener("beforeprint", () => {
    for (const place of places.keys()) if (!place.closest("article")?.hidden) drawPlace(place);
  });
  return () => {
    for (const script of scripts) {
      if (script.closest("article").hidden) continue;
      const whole = JSON.parse(script.textContent);
      const traces = whole.data.map(filtered).filter(Boolean);
      const any = traces.some((trace) => trace.meta) || !whole.data.some((trace) => trace.meta);
      setFigure(document.getElementById(script.dataset.for), any ? () => ({ ...whole, data: traces }) : null);
    }
  };
};
