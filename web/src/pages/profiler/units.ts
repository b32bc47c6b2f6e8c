/** Values of the catalog's units as people read them. Pure. */
import { formatBytes, formatNumber, NONE } from "@/lib/format";

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
