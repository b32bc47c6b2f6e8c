/**
 * The little language of filter boxes: words that must occur somewhere, and conditions on one field. `state:running lr>=1e-4 -cosine`.
 * All must hold. Pure.
 */
export type Fields = Readonly<Record<string, string | number | null | undefined>>;

type Comparison = ":" | "=" | "<" | "<=" | ">" | ">=";

interface Term {
  readonly negated: boolean;
  /** `null`: any field. */
  readonly field: string | null;
  readonly comparison: Comparison;
  readonly value: string;
}

export type Filter = readonly Term[];

const TERM = /^(-?)(?:([\w./-]+?)(<=|>=|[:=<>]))?(.*)$/;

/** Words apart from each other by spaces; in double quotes a space is part of the word. */
function wordsOf(text: string): readonly string[] {
  return text.match(/(?:[^\s"]|"[^"]*"?)+/g) ?? [];
}

/** What is half typed is left out. */
export function parseFilter(text: string): Filter {
  return wordsOf(text).flatMap((word) => {
    const found = TERM.exec(word.replaceAll('"', ""));
    const [, minus, field, comparison, value] = found ?? [];
    if (!value) return [];
    return [
      {
        negated: minus === "-",
        field: field?.toLowerCase() ?? null,
        comparison: (comparison ?? ":") as Comparison,
        value,
      },
    ];
  });
}

export function matches(filter: Filter, fields: Fields): boolean {
  return filter.every((term) => holds(term, fields) !== term.negated);
}

/** From and to, both included; `null`: no limit. */
export type Range = readonly [number | null, number | null];

/** What the filter's `>=` and `<=` leave of a field. */
export function rangeOf(text: string, field: string): Range {
  const limit = (comparison: Comparison) => {
    const found = parseFilter(text).find(
      (term) => !term.negated && term.field === field.toLowerCase() && term.comparison === comparison,
    );
    const value = found ? Number(found.value) : Number.NaN; // `1e` while somebody types 1e-4
    return Number.isFinite(value) ? value : null;
  };
  return [limit(">="), limit("<=")];
}

/** The filter's text with this range of the field instead of the one it had. */
export function withRange(text: string, field: string, [from, to]: Range): string {
  const limits = [`${field}>=`, `${field}<=`].map((start) => start.toLowerCase());
  const others = wordsOf(text).filter((word) => !limits.some((start) => word.toLowerCase().startsWith(start)));
  return [...others, ...(from === null ? [] : [`${field}>=${from}`]), ...(to === null ? [] : [`${field}<=${to}`])].join(
    " ",
  );
}

function holds(term: Term, fields: Fields): boolean {
  if (term.field === null) {
    const wanted = term.value.toLowerCase();
    return Object.values(fields).some((value) => textOf(value).includes(wanted));
  }
  const names = Object.keys(fields).filter((name) => name.toLowerCase() === term.field);
  return names.some((name) => compares(fields[name], term.comparison, term.value));
}

function compares(value: Fields[string], comparison: Comparison, wanted: string): boolean {
  if (comparison === ":") return textOf(value).includes(wanted.toLowerCase());
  const [left, right] = [numberOf(value), Number(wanted)];
  if (comparison === "=")
    return Number.isNaN(left) || Number.isNaN(right) ? textOf(value) === wanted.toLowerCase() : left === right;
  switch (comparison) {
    case "<":
      return left < right;
    case "<=":
      return left <= right;
    case ">":
      return left > right;
    case ">=":
      return left >= right;
  }
}

function textOf(value: Fields[string]): string {
  return value === null || value === undefined ? "" : String(value).toLowerCase();
}

function numberOf(value: Fields[string]): number {
  return value === null || value === undefined || value === "" ? Number.NaN : Number(value);
}
