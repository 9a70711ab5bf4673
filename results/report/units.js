// Numbers as units.py writes them: three significant digits, the unit that suits them, GB/s = 1e9 bytes/s, K = 1024.
const NOTHING = "–";

const digits = (value, significant = 3) => {
  if (value === null || value === undefined || !Number.isFinite(value)) return NOTHING;
  if (value === 0) return "0";
  const power = Number(value.toExponential().split("e")[1]);
  if (power < -4 || power > 8) return value.toExponential(significant - 1).replace(/e([+-])(\d)$/, "e$10$2");
  const decimals = Math.max(0, significant - 1 - power);
  const [whole, part] = Number(value.toPrecision(significant)).toFixed(decimals).split(".");
  return whole.replace(/\B(?=(\d{3})+$)/g, ",") + (part ? `.${part}` : "");
};

const TIMES = [[1, "s"], [1e-3, "ms"], [1e-6, "µs"], [1e-9, "ns"]];
const time = (seconds) => {
  if (seconds === null || !Number.isFinite(seconds)) return NOTHING;
  const [unit, name] = TIMES.find(([least]) => Math.abs(seconds) >= least) ?? TIMES[3];
  return `${digits(seconds / unit)} ${name}`;
};

const BINARY = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const size = (bytes) => {
  let scaled = bytes, unit = 0;
  while (scaled >= 1024 && unit < BINARY.length - 1) { scaled /= 1024; unit += 1; }
  return `${Number.isInteger(scaled) ? scaled : digits(scaled)} ${BINARY[unit]}`;
};

const giga = (rate) => (rate === null ? NOTHING : digits(rate / 1e9));
const share = (value) => (value === null ? NOTHING : `${(value * 100).toFixed(0)} %`);

const halfWidth = (median, low, high) => {
  if (median === null || low === null || high === null) return null;
  const longer = Math.max(median - low, high - median);
  return longer === 0 ? 0 : longer / median;
};
const spread = (median, low, high) => {
  const half = halfWidth(median, low, high);
  return half === null || !Number.isFinite(half) ? "" : `± ${digits(half * 100, 2)} %`;
};
