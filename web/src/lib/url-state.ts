/** A view's state lives in its address, so that a link shows what its sender saw. Defaults are left out of it. */
import { useCallback, useMemo, useSyncExternalStore } from "react";
import { useLocation } from "react-router";

/** How a value is written in an address. `read` never fails: what it cannot make sense of is the default. */
export interface Codec<T> {
  read(text: string | null): T;
  /** `null` leaves the parameter out. */
  write(value: T): string | null;
}

export function textCodec<T extends string>(fallback: T, allowed?: readonly T[]): Codec<T> {
  return {
    read: (text) => (text !== null && (!allowed || allowed.includes(text as T)) ? (text as T) : fallback),
    write: (value) => (value === fallback ? null : value),
  };
}

export function numberCodec(fallback: number, min = -Infinity, max = Infinity): Codec<number> {
  return {
    read: (text) => {
      const value = text === null || text.trim() === "" ? Number.NaN : Number(text);
      return Number.isFinite(value) ? Math.min(max, Math.max(min, value)) : fallback;
    },
    write: (value) => (value === fallback ? null : String(value)),
  };
}

export const flagCodec: Codec<boolean> = {
  read: (text) => text === "1",
  write: (value) => (value ? "1" : null),
};

/** A list of names without commas, each once. */
export const listCodec: Codec<readonly string[]> = {
  read: (text) => [...new Set((text ?? "").split(",").filter(Boolean))],
  write: (values) => (values.length > 0 ? values.join(",") : null),
};

/** In a list of older addresses: everything that there was to choose from. */
export const ALL = "*";

/** A range `from~to` of numbers. */
export const rangeCodec: Codec<readonly [number, number] | null> = {
  read: (text) => {
    const parts = (text ?? "").split("~").map((part) => (part === "" ? Number.NaN : Number(part)));
    const [from, to] = parts;
    return parts.length === 2 && Number.isFinite(from) && Number.isFinite(to)
      ? [Math.min(from as number, to as number), Math.max(from as number, to as number)]
      : null;
  },
  write: (range) => (range ? `${Number(range[0].toPrecision(12))}~${Number(range[1].toPrecision(12))}` : null),
};

export interface Sort {
  readonly column: string;
  readonly descending: boolean;
}

/** `name` or `-name`. */
export const sortCodec: Codec<Sort | null> = {
  read: (text) => (text ? { column: text.replace(/^-/, ""), descending: text.startsWith("-") } : null),
  write: (sort) => (sort ? (sort.descending ? "-" : "") + sort.column : null),
};

/** The search part of an address after some parameters were changed. */
export function patched(search: URLSearchParams, changes: Record<string, string | null>): URLSearchParams {
  const next = new URLSearchParams(search);
  for (const [name, text] of Object.entries(changes)) {
    if (text === null) next.delete(name);
    else next.set(name, text);
  }
  return next;
}

const watchers = new Set<() => void>();

function watch(watcher: () => void): () => void {
  watchers.add(watcher);
  // The way back from a step that the router never heard of.
  window.addEventListener("popstate", watcher);
  return () => {
    watchers.delete(watcher);
    window.removeEventListener("popstate", watcher);
  };
}

/**
 * Changes the address in place, at once: through the router it would change a moment later, and a field that is typed into would lose
 * its cursor. The router's own state of the entry stays with it.
 */
function changeSearch(changes: Record<string, string | null>, push: boolean): void {
  const search = patched(new URLSearchParams(window.location.search), changes).toString();
  const address = `${window.location.pathname}${search && `?${search}`}`;
  if (push) window.history.pushState(window.history.state, "", address);
  else window.history.replaceState(window.history.state, "", address);
  for (const watcher of watchers) watcher();
}

/** Like useState, with the address as its place. A change replaces the address unless `push` makes a step to go back to. */
export function useUrlState<T>(name: string, codec: Codec<T>, push = false): [T, (value: T) => void] {
  useLocation(); // links and the way back change it, too
  const text = useSyncExternalStore(watch, () => new URLSearchParams(window.location.search).get(name));
  const value = useMemo(() => codec.read(text), [codec, text]);
  const change = useCallback((next: T) => changeSearch({ [name]: codec.write(next) }, push), [name, codec, push]);
  return [value, change];
}
