// The ratio of two medians with its interval, from what the rows hold: the rule of statistics.Ratio.change. Several rows
// of a point in a run are launches, which are drawn with replacement; of a single launch on both sides the interval is
// that of the samples within, each median taken as log-normal.
const Z95 = 1.959964;
const RESAMPLES = 2000;
const BROKEN = ["FAIL", "INVALID"];
const GRAVITY = ["INVALID", "FAIL", "INCONCLUSIVE", "PASS"];

const median = (values) => {
  const sorted = Float64Array.from(values).sort(), middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

const isExact = (row) => ["simulated", "compiled"].includes(text("evidence", row)); // computed, not timed: no spread

// The launches with a time; of several that were computed and agree, one.
const launchesOf = (rows) => {
  const timed = rows.filter((row) => columns.median_s[row] > 0);
  const same = timed.every((row) => isExact(row) && columns.median_s[row] === columns.median_s[timed[0]]);
  return same ? timed.slice(0, 1) : timed;
};

// The standard deviation of the logarithm of a median; null where nothing tells it.
const deviation = (row) => {
  if (isExact(row)) return 0;
  const low = columns.low_s[row], high = columns.high_s[row];
  return low > 0 && high > 0 ? Math.abs(Math.log(high / low)) / (2 * Z95) : null;
};

// Numbers between 0 and 1, always the same of a seed (mulberry32).
const randomNumbers = (seed) => () => {
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
};

// Medians of resamples of several launches. What is inside a launch is in their spread already.
const resampled = (rows) => {
  const random = randomNumbers(rows[0] + 1);
  const draw = () => columns.median_s[rows[Math.floor(random() * rows.length)]];
  return Array.from({ length: RESAMPLES }, () => median(rows.map(draw)));
};

const middleOf = (values, value) => {
  const sorted = Float64Array.from(values).sort(), outside = Math.floor(RESAMPLES * 0.025);
  return [Math.min(sorted[outside], value), Math.max(sorted[RESAMPLES - 1 - outside], value)];
};

// The median time of a point in a run, over launches where there are several, and its interval (null without one).
const summaryOf = (rows) => {
  const launches = launchesOf(rows);
  if (!launches.length) return null;
  const value = median(launches.map((row) => columns.median_s[row]));
  if (launches.length >= data.rules.min_launches) return { value, interval: middleOf(resampled(launches), value) };
  const [row] = launches, known = launches.length === 1 && columns.low_s[row] !== null;
  return { value, interval: known ? [columns.low_s[row], columns.high_s[row]] : null };
};

const changeOf = (ratio, interval, tolerance) => {
  if (!interval) return "cannot tell";
  const [low, high] = interval, least = 1 / (1 + tolerance), most = 1 + tolerance;
  if (least <= low && high <= most) return "same";
  if (low > 1 && ratio > most) return "worse";
  return high < 1 && ratio < least ? "better" : "cannot tell";
};

const verdictOf = (rows) => GRAVITY.find((verdict) => rows.some((row) => text("verdict", row) === verdict)) ?? "none";

const intervalOfRatio = (a, b, ratio) => {
  if (Math.max(a.length, b.length) > 1) {
    const { min_launches: least } = data.rules;
    if (Math.min(a.length, b.length) < least) {
      return { interval: null, reason: `${a.length} launches against ${b.length}, fewer than ${least} a side` };
    }
    const medians = resampled(a);
    return { interval: middleOf(resampled(b).map((value, i) => value / medians[i]), ratio), reason: "" };
  }
  const widths = [deviation(a[0]), deviation(b[0])];
  if (widths.includes(null)) return { interval: null, reason: "no interval: too few samples" };
  const reach = Math.exp(Z95 * Math.hypot(...widths));
  const reason = reach > 1 ? "one launch a side: the interval is that of the samples within" : "";
  return { interval: [ratio / reach, ratio * reach], reason };
};

// One point in two runs: over 1 the second is slower.
const comparePoint = (rowsA, rowsB, tolerance) => {
  const a = launchesOf(rowsA), b = launchesOf(rowsB), row = rowsB[0];
  const verdicts = [verdictOf(rowsA), verdictOf(rowsB)];
  const [was, is] = verdicts.map((verdict) => BROKEN.includes(verdict));
  const said = `verdict ${verdicts[0]}, then ${verdicts[1]}`, launches = [rowsA.length, rowsB.length];
  if (!a.length || !b.length) {
    const same = verdicts[0] !== "none" && verdicts[0] === verdicts[1];
    const change = is && !was ? "worse" : was && verdicts[1] === "PASS" ? "better" : same ? "same" : "cannot tell";
    return { row, a: null, b: null, ratio: null, interval: null, change, launches, verdicts, reason: `${said}; no times` };
  }
  const times = [a, b].map((rows) => median(rows.map((one) => columns.median_s[one])));
  const ratio = times[1] / times[0], { interval, reason } = intervalOfRatio(a, b, ratio);
  const fell = is && !was, change = fell ? "worse" : changeOf(ratio, interval, tolerance);
  return { row, a: times[0], b: times[1], ratio, interval, change, launches, verdicts, reason: fell ? said : reason };
};

const ORDER = ["worse", "better", "cannot tell", "same"];
const compareRuns = (a, b, tolerance) => {
  const rowsA = pointsOf(a), rowsB = pointsOf(b);
  const shared = [...rowsB.keys()].filter((point) => rowsA.has(point));
  // A ceiling of the roof has neither a time nor a verdict: there is nothing to compare.
  const found = shared.map((point) => comparePoint(rowsA.get(point), rowsB.get(point), tolerance))
    .filter(({ ratio, verdicts }) => ratio !== null || verdicts.some((verdict) => verdict !== "none"));
  const far = ({ ratio }) => (ratio === null ? 0 : -Math.abs(Math.log(ratio)));
  found.sort((x, y) => ORDER.indexOf(x.change) - ORDER.indexOf(y.change) || far(x) - far(y));
  return { found, onlyA: rowsA.size - shared.length, onlyB: rowsB.size - shared.length };
};

// The rows of each point of a run that pass the filters.
const pointsOf = (run) => {
  const points = new Map();
  for (const row of everyRow) {
    const point = columns.point[row];
    if (columns.run[row] !== run || point < 0 || !passes(row)) continue;
    if (points.has(point)) points.get(point).push(row); else points.set(point, [row]);
  }
  return points;
};
