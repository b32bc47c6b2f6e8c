/** The typed client of the REST API: one middleware for the rules of browsers, one error type for everything refused. */
import createClient, { type Middleware } from "openapi-fetch";
import type { paths, Problem } from "./schema";

/** What the host refused: `message` says what is wrong, `hint` what to do. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly hint: string;

  constructor(status: number, problem: Partial<Problem>) {
    super(problem.detail || problem.title || `the host answered ${status}`);
    this.name = "ApiError";
    this.status = status;
    this.code = problem.code ?? "unknown";
    this.hint = problem.hint ?? "";
  }
}

/** The host does not answer at all. */
export class UnreachableError extends Error {
  constructor() {
    super("the host does not answer");
    this.name = "UnreachableError";
  }
}

const rules: Middleware = {
  onRequest({ request }) {
    // A change with a login's cookie must carry it; a page of another origin cannot.
    if (request.method !== "GET") request.headers.set("X-Gswarm-Csrf", "1");
    return request;
  },
  onError() {
    return new UnreachableError();
  },
};

export const api = createClient<paths>({ baseUrl: "", credentials: "same-origin" });
api.use(rules);

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The body of an answer; throws ApiError for what was refused. */
export async function taken<T>(answer: Promise<Answer<T>>): Promise<T> {
  const { data, error, response } = await answer;
  if (data === undefined) throw new ApiError(response.status, (error ?? {}) as Partial<Problem>);
  return data;
}

/** Of routes that the OpenAPI document gives no types for. `query` leaves out what is undefined and repeats what is a list. */
export async function getJson<T>(path: string, query: Query = {}, signal?: AbortSignal): Promise<T> {
  const url = new URL(`/api/v1/${path}`, window.location.origin);
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined) url.searchParams.append(name, String(one));
    }
  }
  const response = await fetch(url, { credentials: "same-origin", signal }).catch((error: unknown) => {
    throw signal?.aborted ? error : new UnreachableError();
  });
  const body: unknown = await response.json().catch(() => ({}));
  if (!response.ok) throw new ApiError(response.status, body as Partial<Problem>);
  return body as T;
}

export type Query = Record<string, string | number | undefined | readonly (string | number)[]>;

/** A key for one deliberate act: sent again, it takes effect once. */
export function newRequestKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
