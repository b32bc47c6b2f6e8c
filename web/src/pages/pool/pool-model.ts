/** The data pool in words and sums. Pure. */
import type { PoolManifestView, PoolTotalView } from "@/api/pool";
import type { Fields } from "@/lib/filter";

export type PoolKind = PoolManifestView["kind"];

export const KIND_WORDS: Readonly<Record<PoolKind, { readonly one: string; readonly about: string }>> = {
  base: { one: "Base models", about: "what training starts from" },
  data: { one: "Data sets", about: "prepared once, read by every run of an experiment" },
  checkpoint: { one: "Checkpoints", about: "everything a run needs to go on exactly" },
  export: { one: "Exports", about: "adapters and merged models, for use elsewhere" },
};

export function sumOf(totals: readonly PoolTotalView[]): { manifests: number; bytes: number; unknown: number } {
  return {
    manifests: totals.reduce((sum, one) => sum + one.manifests, 0),
    bytes: totals.reduce((sum, one) => sum + one.size_bytes, 0),
    unknown: totals.reduce((sum, one) => sum + one.unknown, 0),
  };
}

/** Where a manifest's bytes are safe: on the host, with clients only, or nowhere that is known. */
export function placeOf(manifest: PoolManifestView): "host" | "clients" | "unknown" {
  if (manifest.holders.includes("host")) return "host";
  return manifest.holders.length > 0 ? "clients" : "unknown";
}

/** How many characters of a digest tell it apart from every other that a person will meet. */
export const DIGEST_SHOWN = 12;

export function fieldsOf(manifest: PoolManifestView): Fields {
  return {
    manifest: manifest.manifest,
    kind: manifest.kind,
    run: manifest.run,
    experiment: manifest.experiments.join(" "),
    holder: manifest.holders.join(" "),
    step: manifest.step,
    size: manifest.size_bytes,
    runs: manifest.runs,
  };
}
