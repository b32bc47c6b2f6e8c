/** What keys do on a chart: where its cursor goes, and what of the axis is shown. Pure. */

export type Range = readonly [from: number, to: number];

const STRIDE = 10;
const ZOOM = 2;

/** The place in `xs` after a key, among those in sight; `null` where the key moves nothing or there is nothing to see. */
export function walked(
  xs: readonly number[],
  at: number | null,
  key: string,
  shown: Range,
  strides: boolean,
): number | null {
  const first = xs.findIndex((x) => x >= shown[0]);
  const last = xs.findLastIndex((x) => x <= shown[1]);
  if (first < 0 || last < first) return null;
  const by = strides ? STRIDE : 1;
  switch (key) {
    case "Home":
      return first;
    case "End":
      return last;
    case "ArrowLeft":
      return at === null ? last : clamped(at - by, first, last);
    case "ArrowRight":
      return at === null ? first : clamped(at + by, first, last);
    default:
      return null;
  }
}

function clamped(at: number, first: number, last: number): number {
  return Math.max(first, Math.min(last, at));
}

/** What is shown after `+` or `-`, around the cursor; `null` is all, where it would be more than there is; `undefined` is another key. */
export function zoomedBy(
  key: string,
  shown: Range,
  around: number | null,
  xs: readonly number[],
): Range | null | undefined {
  if (key !== "+" && key !== "=" && key !== "-" && key !== "_") return undefined;
  const middle = around ?? (shown[0] + shown[1]) / 2;
  const length = shown[1] - shown[0];
  const isIn = key === "+" || key === "=";
  const next = isIn ? length / ZOOM : length * ZOOM;
  // The cursor stays where it is on the screen.
  const share = length > 0 ? (middle - shown[0]) / length : 0.5;
  const found: Range = [middle - share * next, middle + (1 - share) * next];
  const [first = 0, last = 0] = [xs[0], xs.at(-1)];
  return !isIn && found[0] <= first && found[1] >= last ? null : found;
}
