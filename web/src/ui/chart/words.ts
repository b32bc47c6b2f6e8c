/** Where the words of marks and thresholds stand: at their lines, and none over another. Pure. */

export interface Word {
  /** Of the mark's line, in pixels. */
  readonly at: number;
  readonly width: number;
}

/**
 * The left ends: right of the lines, left of them at `edge`, from where on something else stands; `null` where there is no room.
 * Of two that meet the later one is said.
 */
export function placeWords(
  words: readonly Word[],
  left: number,
  right: number,
  gap: number,
  edge = right,
): (number | null)[] {
  const places: (number | null)[] = words.map(() => null);
  const order = words.map((_, index) => index).sort((a, b) => (words[b] as Word).at - (words[a] as Word).at || b - a);
  let free = edge;
  for (const index of order) {
    const { at, width } = words[index] as Word;
    if (width === 0 || at < left || at > right) continue;
    const isLate = at + gap + width > edge;
    const start = isLate ? at - gap - width : at + gap;
    if (start < left || start + width > free) continue;
    places[index] = start;
    free = Math.min(start, at) - gap;
  }
  return places;
}

/** A word at the right end of its horizontal line. */
export interface EndWord {
  /** Of the text's base. */
  readonly y: number;
  readonly width: number;
}

/** The left ends of words at the right end; those in one row, which is `height` high, stand beside each other. */
export function placeEnds(words: readonly EndWord[], right: number, gap: number, height: number): number[] {
  const starts: number[] = [];
  words.forEach(({ y, width }, index) => {
    const beside = starts.filter((_, other) => Math.abs((words[other] as EndWord).y - y) < height);
    starts[index] = Math.min(right, ...beside) - gap - width;
  });
  return starts;
}
