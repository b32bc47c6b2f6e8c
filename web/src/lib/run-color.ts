/**
 * A run has one colour everywhere, by its id. Neighbours differ in hue and in lightness, so that most of them are told apart without
 * colour vision; of lines in one chart that share a colour all but the first are dashed, too.
 */
const LIGHT = [
  "#2457c5",
  "#c2500a",
  "#0a7a62",
  "#8f2d8f",
  "#8a6d00",
  "#0e7fa8",
  "#b3264a",
  "#4b7a16",
  "#5b4bc4",
  "#7a4a2b",
  "#3b6d7d",
  "#a1478f",
];
const DARK = [
  "#7ea6ff",
  "#ff9d5c",
  "#3cc9a4",
  "#e08be0",
  "#e3c341",
  "#5cc8ee",
  "#ff8aa5",
  "#a3d45f",
  "#b0a4ff",
  "#d6a37f",
  "#93c5d4",
  "#f0a3dd",
];
const DASHES: readonly number[][] = [[], [8, 4], [2, 3], [10, 3, 2, 3]];

export type Theme = "light" | "dark";

/** The number in a run's id: 17 of `r17`. */
function numberOf(run: string): number {
  const digits = /\d+/.exec(run);
  return digits ? Number(digits[0]) : 0;
}

export function runColor(run: string, theme: Theme): string {
  const colors = theme === "dark" ? DARK : LIGHT;
  return colors[numberOf(run) % colors.length] as string;
}

export function runDash(run: string): number[] {
  return DASHES[Math.floor(numberOf(run) / LIGHT.length) % DASHES.length] as number[];
}

/** Of each of the runs that are shown together: dashes only where an earlier one has the same colour. */
export function runDashes(runs: readonly string[]): ReadonlyMap<string, number[]> {
  const seen = new Map<number, number>();
  const dashes = new Map<string, number[]>();
  for (const run of [...new Set(runs)].sort((a, b) => numberOf(a) - numberOf(b))) {
    const hue = numberOf(run) % LIGHT.length;
    const before = seen.get(hue) ?? 0;
    seen.set(hue, before + 1);
    dashes.set(run, DASHES[before % DASHES.length] as number[]);
  }
  return dashes;
}

/** For elements that CSS colours: both themes at once. */
export function runColorCss(run: string): string {
  return `light-dark(${runColor(run, "light")}, ${runColor(run, "dark")})`;
}
