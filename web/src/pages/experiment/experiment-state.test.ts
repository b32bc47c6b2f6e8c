import { expect, test } from "vitest";
import { standOf } from "./experiment-state";

test.each([
  ["active", { running: 1 }, "active"],
  ["idle", { completed: 3 }, "finished"],
  ["idle", { completed: 2, pruned: 1, failed: 1, deleted: 4 }, "finished"],
  ["idle", { completed: 2, stopped: 1 }, "stopped"],
  ["idle", { failed: 2 }, "failed"],
  ["idle", { deleted: 2 }, "no runs left"],
  ["deleted", { deleting: 2 }, "deleted"],
])("%s with %o is called %s", (state, states, text) => {
  expect(standOf({ state, states } as Parameters<typeof standOf>[0]).text).toBe(text);
});
