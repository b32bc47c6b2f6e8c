import { expect, test } from "vitest";
import type { TokenView } from "@/api/tokens";
import { checkForm, EMPTY_FORM, parseTtl, tokenState } from "./token-rules";

const TOKEN: TokenView = {
  id: "t1",
  role: "client",
  created_at: 0,
  expires_at: 100,
  uses_left: 1,
  client: null,
  revoked_at: null,
  last_used_at: null,
};

test.each([
  [{}, 50, "ready"],
  [{}, 100, "expired"],
  [{ revoked_at: 10 }, 50, "revoked"],
  [{ uses_left: 0 }, 50, "used up"],
  [{ expires_at: null, uses_left: null }, 1e12, "ready"],
] as const)("with %j at %d a token is %s", (changes, now, state) => {
  expect(tokenState({ ...TOKEN, ...changes }, now)).toBe(state);
});

test.each([
  ["12h", 43_200],
  [" 7 D ", 604_800],
  ["1.5h", 5400],
  ["90s", 90],
  ["0h", null],
  ["12", null],
  ["soon", null],
  ["-1h", null],
])("%j is %d seconds", (text, seconds) => {
  expect(parseTtl(text)).toBe(seconds);
});

test("an empty form takes the host's defaults", () => {
  expect(checkForm(EMPTY_FORM)).toEqual({ request: { role: "viewer", ttl_s: null, uses: null, client: null } });
});

test("uses and names are of tokens for clients", () => {
  const form = { role: "client", ttl: "1h", uses: "3", client: "" } as const;
  expect(checkForm(form)).toEqual({ request: { role: "client", ttl_s: 3600, uses: 3, client: null } });
  expect(checkForm({ ...form, role: "admin" })).toEqual({
    request: { role: "admin", ttl_s: 3600, uses: null, client: null },
  });
});

test.each([
  [{ ttl: "soon" }],
  [{ uses: "0" }],
  [{ uses: "2.5" }],
  [{ uses: "10001" }],
  [{ client: "a b" }],
  [{ client: "a", uses: "2" }],
])("what the host would refuse is said before: %j", (changes) => {
  expect(checkForm({ ...EMPTY_FORM, role: "client", ...changes })).toHaveProperty("problem");
});
