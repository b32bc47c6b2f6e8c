/** A moment as an axis of time names it: `14:05`, with seconds or the day where the steps ask for them. 24 hours, local time. */
export function tickText(at: number, stepS: number): string {
  const date = new Date(at * 1000);
  if (stepS >= 86_400) return `${date.getMonth() + 1}-${two(date.getDate())}`;
  const clock = `${two(date.getHours())}:${two(date.getMinutes())}`;
  if (stepS >= 60) return clock;
  if (stepS >= 1) return `${clock}:${two(date.getSeconds())}`;
  return `${clock}:${(date.getSeconds() + date.getMilliseconds() / 1000).toFixed(stepS >= 0.1 ? 1 : 3).padStart(4, "0")}`;
}

/** Of a whole axis: where it runs over midnight, the first tick of a day names the day. */
export function tickTexts(at: readonly number[], stepS: number): string[] {
  return at.map((one, index) => {
    const before = at[index - 1];
    const isNewDay = before !== undefined && new Date(before * 1000).getDate() !== new Date(one * 1000).getDate();
    return isNewDay && stepS < 86_400 ? tickText(one, 86_400) : tickText(one, stepS);
  });
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}
