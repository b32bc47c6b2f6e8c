/** Values of the catalog's units as people read them. Pure. */
import { formatBytes, formatNumber, NONE, SIZES } from "@/lib/format";
import { numberTick, rounded, siTick } from "@/lib/ticks";

type Maybe = number | null | undefined;

const WATT_HOUR_J = 3600;

export function formatValue(value: Maybe, unit: string): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  switch (unit) {
    case "ratio":
      return `${trimmed(value * 100)} %`;
    case "bytes":
      return formatBytes(Math.abs(value)).replace(/^/, value < 0 ? "-" : "");
    case "bytes_per_second":
      return `${formatBytes(Math.abs(value))}/s`;
    case "watts":
      return `${scaled(value)}W`;
    case "joules":
      return `${scaled(value / WATT_HOUR_J)}Wh`;
    case "celsius":
      return `${trimmed(value)} °C`;
    case "hertz":
      return `${scaled(value)}Hz`;
    case "seconds":
      return seconds(value);
    case "per_second":
      return `${scaled(value).trimEnd()}/s`;
    case "bitmask":
      return bitsText(value);
    default:
      return formatNumber(value);
  }
}

/** The same on an axis: as exact as the distance to the next tick asks for. */
export function formatTick(value: number, unit: string, step: number): string {
  switch (unit) {
    case "ratio":
      return `${rounded(value * 100, step * 100)} %`;
    case "bytes":
      return byteTick(value, step);
    case "bytes_per_second":
      return `${byteTick(value, step)}/s`;
    case "watts":
      return siTick(value, step, "W");
    case "joules":
      return siTick(value / WATT_HOUR_J, step / WATT_HOUR_J, "Wh");
    case "celsius":
      return `${rounded(value, step)} °C`;
    case "hertz":
      return siTick(value, step, "Hz");
    case "seconds":
      return secondTick(value, step);
    case "per_second":
      return `${siTick(value, step, "")}/s`;
    case "bitmask":
      return formatValue(value, unit);
    default:
      return numberTick(value, step);
  }
}

function byteTick(value: number, step: number): string {
  const size = Math.abs(value);
  const power = size < 1024 ? 0 : Math.min(SIZES.length - 1, Math.floor(Math.log2(size) / 10 + 1e-9));
  return `${rounded(value / 1024 ** power, step / 1024 ** power)} ${SIZES[power]}`;
}

function secondTick(value: number, step: number): string {
  const size = Math.abs(value);
  if (size === 0) return "0 s";
  if (size < 1e-3) return `${rounded(value * 1e6, step * 1e6)} µs`;
  return size < 1 ? `${rounded(value * 1e3, step * 1e3)} ms` : `${rounded(value, step)} s`;
}

/** Three digits that count, without noise behind them. */
function trimmed(value: number): string {
  const size = Math.abs(value);
  return String(Number(value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2)));
}

function scaled(value: number): string {
  const size = Math.abs(value);
  const [factor, sign] = size >= 1e9 ? [1e9, "G"] : size >= 1e6 ? [1e6, "M"] : size >= 1e3 ? [1e3, "k"] : [1, ""];
  return `${trimmed(value / factor)} ${sign}`;
}

function seconds(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return "0 s";
  if (size < 1e-3) return `${trimmed(value * 1e6)} µs`;
  return size < 1 ? `${trimmed(value * 1e3)} ms` : `${trimmed(value)} s`;
}

/** NVML's reasons for held down clocks (nvml.h, nvmlClocksEventReasons). */
const REASONS: readonly (readonly [bit: number, text: string])[] = [
  [1, "idle"],
  [2, "set clocks"],
  [4, "power cap"],
  [8, "hardware slowdown"],
  [16, "sync boost"],
  [32, "thermal (driver)"],
  [64, "thermal (hardware)"],
  [128, "power brake"],
  [256, "display"],
];

function bitsText(value: number): string {
  if (value === 0) return "none";
  if (!Number.isInteger(value)) return formatNumber(value);
  const known = REASONS.filter(([bit]) => (value & bit) !== 0).map(([, text]) => text);
  return known.length > 0 ? known.join(", ") : `0x${value.toString(16)}`;
}

/** What a person types for a threshold, and what it is in base units. */
export function typedScale(unit: string): { readonly factor: number; readonly text: string } {
  switch (unit) {
    case "ratio":
      return { factor: 0.01, text: "%" };
    case "bytes":
      return { factor: 2 ** 30, text: "GiB" };
    case "bytes_per_second":
      return { factor: 2 ** 20, text: "MiB/s" };
    case "watts":
      return { factor: 1, text: "W" };
    case "joules":
      return { factor: WATT_HOUR_J, text: "Wh" };
    case "celsius":
      return { factor: 1, text: "°C" };
    case "hertz":
      return { factor: 1e6, text: "MHz" };
    case "seconds":
      return { factor: 1, text: "s" };
    case "per_second":
      return { factor: 1, text: "/s" };
    default:
      return { factor: 1, text: "" };
  }
}
