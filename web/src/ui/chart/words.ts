/** Where the words of marks stand: right of their lines, left of them at the edge, and none over another. Pure. */

export interface Word {
  /** Of the mark's line, in pixels. */
  readonly at: number;
  readonly width: number;
}

/** The left ends, `null` where there is no room. Of two that meet the later one is said. */
export function placeWords(words: readonly Word[], left: number, right: number, gap: number): (number | null)[] {
  const places: (number | null)[] = words.map(() => null);
  const order = words.map((_, index) => index).sort((a, b) => (words[b] as Word).at - (words[a] as Word).at || b - a);
  let free = right;
  for (const index of order) {
    const { at, width } = words[index] as Word;
    if (width === 0 || at < left || at > right) continue;
    const isLate = at + gap + width > right;
    const start = isLate ? at - gap - width : at + gap;
    if (start < left || start + width > free) continue;
    places[index] = start;
    free = Math.min(start, at) - gap;
  }
  return places;
}
