/** What a token is worth now, and what a new one may be. Pure. */
import type { TokenRequest, TokenView } from "@/api/tokens";

export type TokenState = "ready" | "expired" | "revoked" | "used up";

export function tokenState(token: TokenView, now: number): TokenState {
  if (token.revoked_at !== null) return "revoked";
  if (token.expires_at !== null && token.expires_at <= now) return "expired";
  if (token.uses_left === 0) return "used up";
  return "ready";
}

export type TokenRole = "client" | "viewer" | "operator" | "admin";

/** What the form holds, as it was typed. */
export interface TokenForm {
  readonly role: TokenRole;
  readonly ttl: string;
  readonly uses: string;
  readonly client: string;
}

export const EMPTY_FORM: TokenForm = { role: "viewer", ttl: "", uses: "", client: "" };

export type Checked = { readonly request: TokenRequest } | { readonly problem: string };

const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 };
const USES_MAX = 10_000;
const CLIENT_NAME = /^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;

/** Seconds of `90s`, `30m`, `12h`, `7d` or `4w`; `null` for anything else. */
export function parseTtl(text: string): number | null {
  const [, count, unit] = /^(\d{1,6}(?:\.\d+)?)\s*([smhdw])$/.exec(text.trim().toLowerCase()) ?? [];
  const seconds = Number(count) * (UNITS[unit ?? ""] ?? Number.NaN);
  return Number.isFinite(seconds) && seconds > 0 ? seconds : null;
}

/** Uses and the name are of tokens for clients; for others what was typed there does not count. */
export function checkForm({ role, ttl, uses, client }: TokenForm): Checked {
  const seconds = ttl.trim() === "" ? null : parseTtl(ttl);
  if (ttl.trim() !== "" && seconds === null) return { problem: "A time is a number with s, m, h, d or w: 12h, 7d" };
  if (role !== "client") return { request: { role, ttl_s: seconds, uses: null, client: null } };
  const count = uses.trim() === "" ? null : Number(uses);
  if (count !== null && !(Number.isInteger(count) && count >= 1 && count <= USES_MAX))
    return { problem: `Uses are a whole number from 1 to ${USES_MAX.toLocaleString("en")}` };
  const name = client.trim();
  if (name !== "" && !CLIENT_NAME.test(name))
    return { problem: "A client's name has letters, digits, dots and dashes" };
  if (name !== "" && count !== null && count !== 1) return { problem: "A token for one name is used once" };
  return { request: { role, ttl_s: seconds, uses: count, client: name || null } };
}
