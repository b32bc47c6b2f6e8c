import { QueryClient, QueryObserver } from "@tanstack/react-query";
import { beforeEach, expect, test, vi } from "vitest";
import { runListQuery } from "@/api/experiments";
import { runQuery, type RunView } from "@/api/runs";
import { testRun } from "@/api/test-run";
import { apply } from "./apply";
import { CLEAN, collect, type Dirty, type HostEvent } from "./dirty";

/** What the host says now, and what it was asked for. */
const host = vi.hoisted(() => ({ runs: [] as RunView[], asked: [] as string[] }));

vi.mock("@/api/client", async (original) => ({
  ...(await original<object>()),
  taken: (answer: unknown) => Promise.resolve(answer),
  api: {
    GET: (path: string, { params }: { params: { query?: { state?: string[] }; path?: { run?: string } } }) => {
      host.asked.push(path);
      const wanted = params.query?.state;
      if (path.endsWith("/{run}")) return host.runs.find((run) => run.id === params.path?.run);
      return { items: host.runs.filter((run) => !wanted || wanted.includes(run.state)) };
    },
  },
}));

const LIST = ["run-list", "e1"];

function because(type: string, ids: HostEvent["ids"]): Dirty {
  return collect(CLEAN, { id: 1, type, text: "", ids, at: 0 });
}

/** A page that has read the list of runs. */
async function looking(...runs: RunView[]): Promise<QueryClient> {
  host.runs = runs;
  const client = new QueryClient({ defaultOptions: { queries: { staleTime: Infinity, retry: false } } });
  new QueryObserver(client, { ...runListQuery("e1"), refetchInterval: false }).subscribe(() => undefined);
  await vi.waitFor(() => expect(client.getQueryData(LIST)).toHaveLength(runs.length));
  host.asked.length = 0;
  return client;
}

function states(client: QueryClient): readonly (readonly [string, string, string | null])[] {
  return (client.getQueryData<readonly RunView[]>(LIST) ?? []).map((run) => [run.id, run.state, run.slot]);
}

beforeEach(() => {
  host.asked.length = 0;
});

test("the end of one run's chunk is another run's slot", async () => {
  const client = await looking(
    testRun("r1", { state: "completed" }),
    testRun("r2", { state: "running", slot: "left/0" }),
    testRun("r3", { state: "queued" }),
  );
  host.runs = [
    testRun("r1", { state: "completed" }),
    testRun("r2", { state: "queued" }),
    testRun("r3", { state: "running", slot: "left/0" }),
  ];
  await apply(client, because("chunk_committed", { run: "r2", experiment: "e1", client: "left" }));
  expect(states(client)).toEqual([
    ["r1", "completed", null],
    ["r2", "queued", null],
    ["r3", "running", "left/0"],
  ]);
  expect(host.asked).toEqual(["/api/v1/runs"]);
});

test.each([
  ["a lost client", because("client_lost", { client: "left" })],
  ["an event of another experiment", because("chunk_committed", { run: "r77", experiment: "e2", client: "left" })],
  ["a timer of before ids", because("timer_fired", {})],
])("%s moves runs that it does not name", async (_, dirty) => {
  const client = await looking(
    testRun("r1", { slot: "left/0" }),
    testRun("r2", { slot: "left/1" }),
    testRun("r3", { state: "deleting" }),
  );
  host.runs = [
    testRun("r1", { state: "queued" }),
    testRun("r2", { state: "failed" }),
    testRun("r3", { state: "deleted" }),
  ];
  await apply(client, dirty);
  expect(states(client)).toEqual([
    ["r1", "queued", null],
    ["r2", "failed", null],
    ["r3", "deleted", null],
  ]);
});

test("a clone is a new row", async () => {
  const client = await looking(testRun("r1", { state: "stopped" }));
  host.runs = [testRun("r1", { state: "stopped" }), testRun("r2", { state: "queued" })];
  await apply(client, because("run_clone_requested", { parent: "r1", run: "r2", experiment: "e1" }));
  expect(states(client).map(([id]) => id)).toEqual(["r1", "r2"]);
});

test("a run that nobody names and somebody looks at is read again, and no more of it than its view", async () => {
  const client = await looking(testRun("r1"), testRun("r3", { state: "queued" }));
  new QueryObserver(client, runQuery("r3")).subscribe(() => undefined);
  await vi.waitFor(() => expect(client.getQueryData(runQuery("r3").queryKey)?.state).toBe("queued"));
  host.runs = [testRun("r1", { state: "stopped" }), testRun("r3", { slot: "left/0" })];
  await apply(client, because("run_op_requested", { run: "r1", experiment: "e1" }));
  expect(client.getQueryData(runQuery("r3").queryKey)?.slot).toBe("left/0");
});
