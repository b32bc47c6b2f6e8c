/** What of the time is in sight, and how it moves. Pure. */

export interface View {
  readonly from: number;
  readonly to: number;
}

const LENGTH_MIN_S = 0.5;
const LENGTH_MAX_S = 60 * 86_400;

/** Around a moment that stays where it is; a factor below 1 shows less time. */
export function zoomed(view: View, factor: number, around: number): View {
  const length = view.to - view.from;
  const next = Math.min(LENGTH_MAX_S, Math.max(LENGTH_MIN_S, length * factor));
  const from = around - ((around - view.from) / length) * next;
  return { from, to: from + next };
}

export function panned(view: View, seconds: number): View {
  return { from: view.from + seconds, to: view.to + seconds };
}

/** Moved just as far as it takes to have `from` to `to` in sight. */
export function revealed(view: View, from: number, to: number): View {
  const length = view.to - view.from;
  if (from >= view.from && to <= view.to) return view;
  const start = to - from > length || from < view.from ? from - length * 0.1 : to + length * 0.1 - length;
  return { from: start, to: start + length };
}

const STEPS_S = [
  0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800,
  604_800,
];

/** Moments for a time axis, whole ones of the local clock, at least `apart` pixels from each other. */
export function ticks(view: View, width: number, apart = 84): { step: number; at: number[] } {
  const wanted = ((view.to - view.from) / Math.max(1, width)) * apart;
  const step = STEPS_S.find((one) => one >= wanted) ?? (STEPS_S.at(-1) as number);
  const zone = new Date(view.from * 1000).getTimezoneOffset() * 60;
  const at: number[] = [];
  for (let one = Math.ceil((view.from - zone) / step) * step + zone; one <= view.to; one += step) at.push(one);
  return { step, at };
}
