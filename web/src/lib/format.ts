/** Numbers, times and sizes as people read them. What is not known is an en dash, never 0. */
export const NONE = "–";

type Maybe = number | null | undefined;

function known(value: Maybe): value is number {
  return typeof value === "number" && Number.isFinite(value);
}

/** Four significant digits; very small and very large numbers in powers of ten, as `2.0e-4`. */
export function formatNumber(value: Maybe): string {
  if (!known(value)) return NONE;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e6) return value.toExponential(2).replace("e+", "e");
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
}

/**
 * A run's setting as people type it, in the shortest form that is exact: `5e-5`, `3e-4`, `0.002`. A number may come as text in another
 * form, as `5e-05`; lists are separated by commas, and text that is no number stays as it is.
 */
export function formatSetting(value: string | number): string {
  return String(value).split(",").map(shortest).join(",");
}

function shortest(text: string): string {
  const isExact = /^[-+]?(\d+\.\d*|\.\d+|\d+(?=e))(e[-+]?\d+)?$/i.test(text);
  const value = Number(text);
  if (!isExact || !Number.isFinite(value)) return text;
  const written = Math.abs(value) < 1e-3 && value !== 0 ? value.toExponential() : String(value);
  return written.replace("e+", "e");
}

/** Prefixes of the powers of a thousand. */
export const POWERS = ["", "k", "M", "G", "T", "P"];

/** Three digits and a power of a thousand, which is the prefix of the unit where there is one: `6.44 M`, `1.43 kW`. */
export function formatCompact(value: Maybe, unit = ""): string {
  if (!known(value)) return NONE;
  const power = Math.abs(value) < 1000 ? 0 : Math.min(POWERS.length - 1, Math.floor(Math.log10(Math.abs(value)) / 3));
  return `${Number((value / 1000 ** power).toPrecision(3))} ${POWERS[power]}${unit}`.trimEnd();
}

/** A metric's value with three decimals, so that columns line up. */
export function formatMetric(value: Maybe): string {
  if (!known(value)) return NONE;
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e5) ? value.toExponential(2) : value.toFixed(4);
}

export function formatPercent(share: Maybe): string {
  return known(share) ? `${Math.round(share * 100)} %` : NONE;
}

/** Of the powers of 1024. */
export const SIZES = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

export function formatBytes(value: Maybe): string {
  if (!known(value)) return NONE;
  const power = value < 1024 ? 0 : Math.min(SIZES.length - 1, Math.floor(Math.log2(value) / 10));
  const scaled = value / 1024 ** power;
  return `${scaled >= 100 || power === 0 ? Math.round(scaled) : scaled.toFixed(1)} ${SIZES[power]}`;
}

/** `340 ms`, `12.5 s`, `4 min 10 s`, `3 h 05 min`, `2 d 4 h`. */
export function formatDuration(seconds: Maybe): string {
  if (!known(seconds)) return NONE;
  if (seconds < 0) return `-${formatDuration(-seconds)}`;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const total = Math.round(seconds);
  if (total < 3600) return `${Math.floor(total / 60)} min ${pad(total % 60)} s`;
  const minutes = Math.round(total / 60);
  if (minutes < 1440) return `${Math.floor(minutes / 60)} h ${pad(minutes % 60)} min`;
  return `${Math.floor(minutes / 1440)} d ${Math.floor((minutes % 1440) / 60)} h`;
}

function pad(value: number): string {
  return String(value).padStart(2, "0");
}

/** Local date and time of seconds since the epoch. */
export function formatTime(at: Maybe): string {
  return known(at) ? `${formatDay(at)} ${formatClock(at)}` : NONE;
}

/** Local date. */
export function formatDay(at: Maybe): string {
  if (!known(at)) return NONE;
  const date = new Date(at * 1000);
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
}

/** Local time of day, with as much of the date before it as today's does not share: `09:10:12`, `11-23 09:10:12`. */
export function formatMoment(at: Maybe, now = Date.now() / 1000): string {
  if (!known(at)) return NONE;
  const [day, today] = [formatDay(at), formatDay(now)];
  if (day === today) return formatClock(at);
  return day.slice(0, 5) === today.slice(0, 5) ? formatTime(at).slice(5) : formatTime(at);
}

/** Local time of day. */
export function formatClock(at: Maybe): string {
  if (!known(at)) return NONE;
  const date = new Date(at * 1000);
  return `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
}

/** How long ago, coarsely: `just now`, `40 s ago`, `5 min ago`. */
export function formatAgo(at: Maybe, now: number): string {
  if (!known(at)) return NONE;
  const seconds = Math.max(0, now - at);
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${Math.round(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

export function plural(count: number, noun: string, many = `${noun}s`): string {
  return `${count.toLocaleString("en")} ${count === 1 ? noun : many}`;
}
