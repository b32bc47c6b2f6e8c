/** Work about a run that is no training: proving it, and making files for use elsewhere. */
import { api, newRequestKey, taken } from "./client";
import type { JobView } from "./schema";

export type ExportFormat = "adapter" | "merged";

export function verifyRun(run: string): Promise<JobView> {
  const params = { path: { run }, header: { "idempotency-key": newRequestKey() } };
  return taken(api.POST("/api/v1/runs/{run}/verify", { params }));
}

/** `checkpoint`: `best`, `latest` or a step. */
export function exportRun(run: string, format: ExportFormat, checkpoint: string): Promise<JobView> {
  const params = { path: { run }, header: { "idempotency-key": newRequestKey() } };
  return taken(api.POST("/api/v1/runs/{run}/export", { params, body: { format, checkpoint } }));
}
