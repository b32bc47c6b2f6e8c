/** The cache of what was read of the host, one for the page. */
import { QueryCache, QueryClient } from "@tanstack/react-query";
import { ApiError } from "./client";
import { whoamiQuery } from "./session";

const RETRIES = 2;

export const queryClient: QueryClient = new QueryClient({
  queryCache: new QueryCache({
    onError: (error) => {
      // The login has ended: the page stays as it is and asks for another one.
      if (error instanceof ApiError && error.status === 401) queryClient.setQueryData(whoamiQuery.queryKey, null);
    },
  }),
  defaultOptions: {
    queries: {
      staleTime: 30_000,
      refetchOnWindowFocus: false,
      retry: (count, error) => !(error instanceof ApiError) && count < RETRIES,
    },
  },
});
