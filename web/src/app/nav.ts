/** The pages in the order of the side bar. */
import {
  Activity,
  ChartGantt,
  Database,
  FlaskConical,
  LayoutGrid,
  ListOrdered,
  type LucideIcon,
  ScrollText,
  Server,
  Settings,
} from "lucide-react";

export interface NavEntry {
  readonly to: string;
  readonly label: string;
  /** Where the addresses of what belongs to it begin, if not with its own. */
  readonly within?: string;
  readonly icon: LucideIcon;
}

export const NAV: readonly NavEntry[] = [
  { to: "/", label: "Overview", icon: LayoutGrid },
  { to: "/experiments", label: "Experiments", within: "/runs/", icon: FlaskConical },
  { to: "/timeline", label: "Timeline", icon: ChartGantt },
  { to: "/profiler", label: "Profiler", icon: Activity },
  { to: "/clients", label: "Clients", icon: Server },
  { to: "/pool", label: "Data pool", icon: Database },
  { to: "/logs", label: "Logs", icon: ScrollText },
  { to: "/events", label: "Events", icon: ListOrdered },
  { to: "/settings", label: "Settings", icon: Settings },
];
