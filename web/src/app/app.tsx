/** What everything on the page shares: the cache of queries, the login, the addresses. */
import { CSPProvider } from "@base-ui/react/csp-provider";
import { QueryCache, QueryClient, QueryClientProvider, useQuery } from "@tanstack/react-query";
import { RouterProvider } from "react-router";
import { ApiError } from "@/api/client";
import { whoamiQuery } from "@/api/session";
import { LoginPage } from "@/pages/login/login-page";
import { Toasts } from "@/ui/toasts";
import { TooltipProvider } from "@/ui/tooltip";
import { router } from "./routes";

const RETRIES = 2;

const client: QueryClient = new QueryClient({
  queryCache: new QueryCache({
    onError: (error) => {
      // The login has ended: the page stays as it is and asks for another one.
      if (error instanceof ApiError && error.status === 401) client.setQueryData(whoamiQuery.queryKey, null);
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

export function App() {
  return (
    <CSPProvider disableStyleElements>
      <QueryClientProvider client={client}>
        <TooltipProvider delay={400}>
          <Gate />
          <Toasts />
        </TooltipProvider>
      </QueryClientProvider>
    </CSPProvider>
  );
}

/** Nothing but the login before the first one; after that the page stays in place when a login ends. */
function Gate() {
  const { data: who, isPending } = useQuery({ ...whoamiQuery, retry: true, retryDelay: 1000 });
  if (isPending) return null;
  if (!who && !everLoggedIn) return <LoginPage />;
  everLoggedIn = true;
  return <RouterProvider router={router} />;
}

let everLoggedIn = false;
