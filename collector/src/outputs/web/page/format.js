// Numbers and times for people.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

export const PHASES = ["prefill", "decode", "mixed", "startup", "unknown"];

export function bytes(value) {
  let unit = 0;
  while (value >= 1024 && unit + 1 < UNITS.length) {
    value /= 1024;
    unit += 1;
  }
  return unit === 0 ? `${Math.round(value)} B` : `${value.toFixed(value < 100 ? 2 : 1)} ${UNITS[unit]}`;
}

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1 });

export const count = (value) => whole.format(value);

// A rate; small ones with a tenth.
export const rate = (value) => (value < 100 ? tenths : whole).format(value);

export const plural = (number, one, many) => `${count(number)} ${number === 1 ? one : many}`;

export const percent = (part, all) => (all > 0 ? `${((100 * part) / all).toFixed(1)} %` : "");

export function seconds(value) {
  if (value < 0.001) return "0 ms";
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 60) return `${value.toFixed(1)} s`;
  if (value < 3600) return `${Math.floor(value / 60)} min ${Math.floor(value % 60)} s`;
  return `${Math.floor(value / 3600)} h ${Math.floor((value % 3600) / 60)} min`;
}

const two = (number) => String(number).padStart(2, "0");

// Wall-clock time of milliseconds since 1970.
export function clock(ms) {
  const time = new Date(ms);
  return `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
}

// "TP 4 × PP 2" of a layout.
export function layout({ tensor, pipeline, data, expert }) {
  const sizes = [["TP", tensor], ["PP", pipeline], ["DP", data], ["EP", expert]].filter(([, size]) => size > 1);
  return sizes.map(([name, size]) => `${name} ${size}`).join(" × ") || "1 rank";
}

export const layouts = (all) => (all.length ? all.map(layout).join(", ") : "not known");

// Where a rank stands, as far as that is known and is not obvious.
export function place({ data, stage, tensor }, { layouts: all }) {
  if (tensor == null) return "";
  const sizes = all.length === 1 ? all[0] : { tensor: 2, pipeline: 2, data: 2 };
  const parts = [["DP", data, sizes.data], ["PP", stage, sizes.pipeline], ["TP", tensor, sizes.tensor]];
  return parts.filter(([, , size]) => size > 1).map(([name, at]) => `${name} ${at}`).join(" ");
}

// Rates that are not known yet are a dash.
export const known = (live, value) => (live.window_seconds > 0 ? value : "–");
