import { QueryClient, QueryObserver } from "@tanstack/react-query";
import { afterEach, expect, test } from "vitest";
import { ApiError } from "@/api/client";
import { refetchError } from "./refetch-error";

const client = new QueryClient({ defaultOptions: { queries: { retry: false } } });

afterEach(() => client.clear());

test("data that could not be read again stays, and the error is told until it could", async () => {
  let isDown = false;
  const options = {
    queryKey: ["a"],
    queryFn: async () => {
      if (isDown) throw new Error("the host does not answer");
      return 1;
    },
  };
  const end = new QueryObserver(client, options).subscribe(() => undefined);
  await client.refetchQueries();
  expect(refetchError(client.getQueryCache())).toBeNull();
  isDown = true;
  await client.refetchQueries();
  expect(client.getQueryData(["a"])).toBe(1);
  expect(refetchError(client.getQueryCache())?.message).toBe("the host does not answer");
  isDown = false;
  await client.refetchQueries();
  expect(refetchError(client.getQueryCache())).toBeNull();
  end();
});

test("what was never read is its panel's own error", async () => {
  const queryFn = () => Promise.reject(new Error("no"));
  const end = new QueryObserver(client, { queryKey: ["b"], queryFn }).subscribe(() => undefined);
  await client.refetchQueries();
  expect(refetchError(client.getQueryCache())).toBeNull();
  end();
});

test("the end of a login asks for another one, and is no error of the page", async () => {
  let isOver = false;
  const queryFn = () => (isOver ? Promise.reject(new ApiError(401, {})) : Promise.resolve(1));
  const end = new QueryObserver(client, { queryKey: ["c"], queryFn }).subscribe(() => undefined);
  await client.refetchQueries();
  isOver = true;
  await client.refetchQueries();
  expect(client.getQueryState(["c"])).toMatchObject({ status: "error", data: 1 });
  expect(refetchError(client.getQueryCache())).toBeNull();
  end();
});
