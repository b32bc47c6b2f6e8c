/** What everything on the page shares: the cache of queries, the login, the addresses. */
import { CSPProvider } from "@base-ui/react/csp-provider";
import { QueryClientProvider, useQuery } from "@tanstack/react-query";
import { RouterProvider } from "react-router";
import { queryClient } from "@/api/query-client";
import { whoamiQuery } from "@/api/session";
import { LoginPage } from "@/pages/login/login-page";
import { Toasts } from "@/ui/toasts";
import { TooltipProvider } from "@/ui/tooltip";
import { router } from "./routes";

export function App() {
  return (
    <CSPProvider disableStyleElements>
      <QueryClientProvider client={queryClient}>
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
