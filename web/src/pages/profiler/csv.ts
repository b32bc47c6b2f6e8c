/** A panel's values as a table, a row a value. Pure. */
import type { AnswerLine } from "@/api/profiler-query";

const HEAD = "time,at,client,device,owner,run,metric,unit,mean,min,max";

/** RFC 4180; what nobody measured is empty. */
export function csvOf(lines: readonly AnswerLine[]): string {
  const rows = lines.flatMap((line) => {
    const names = [line.client, line.device, line.owner, line.run, line.metric, line.unit].map(quoted).join(",");
    return line.at.map((at, order) =>
      [
        new Date(at * 1000).toISOString(),
        at,
        names,
        line.mean[order] ?? "",
        line.min[order] ?? "",
        line.max[order] ?? "",
      ].join(","),
    );
  });
  return [HEAD, ...rows, ""].join("\r\n");
}

/** Also keeps a spreadsheet from taking a name for a formula. */
function quoted(text: string): string {
  const safe = /^[=+\-@\t]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
