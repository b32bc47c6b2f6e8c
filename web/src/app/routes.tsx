/** Addresses and what stands there. Each page is loaded when it is first opened. */
import { createBrowserRouter } from "react-router";
import { PageError } from "./page-error";
import { Shell } from "./shell";

export const router = createBrowserRouter([
  {
    element: <Shell />,
    errorElement: <PageError />,
    children: [
      { path: "/", lazy: () => import("@/pages/overview/overview-page") },
      { path: "/experiments", lazy: () => import("@/pages/experiments/experiments-page") },
      { path: "/experiments/:experiment", lazy: () => import("@/pages/experiment/experiment-page") },
      { path: "/timeline", lazy: () => import("@/pages/timeline/timeline-page") },
      { path: "/profiler", lazy: () => import("@/pages/profiler/profiler-page") },
      { path: "/runs/:run", lazy: () => import("@/pages/run/run-page") },
      { path: "/clients", lazy: () => import("@/pages/clients/clients-page") },
      { path: "/clients/:client", lazy: () => import("@/pages/client/client-page") },
      { path: "/pool", lazy: () => import("@/pages/pool/pool-page") },
      { path: "/events", lazy: () => import("@/pages/events/events-page") },
      { path: "/logs", lazy: () => import("@/pages/logs/logs-page") },
      { path: "/settings", lazy: () => import("@/pages/settings/settings-page") },
      { path: "*", element: <PageError /> },
    ],
  },
]);
