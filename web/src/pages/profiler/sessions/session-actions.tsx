import { useQuery, useQueryClient } from "@tanstack/react-query";
import { ChartLine, Download, Square, Trash2 } from "lucide-react";
import { useNavigate } from "react-router";
import {
  deleteSession,
  EXPORTS,
  exportAddress,
  type SessionView,
  sessionsQuery,
  stopSession,
} from "@/api/profiler-sessions";
import { mayAct, whoamiQuery } from "@/api/session";
import { fixedRange, timeRangeText } from "@/lib/time-range";
import { Button } from "@/ui/button";
import { Menu } from "@/ui/menu";
import { toast, toastError } from "@/ui/toasts";
import css from "../profiler.module.css";

const NO_RIGHT = "This needs an operator's token";

/** What can be done with a session. */
export function SessionActions({ session }: { session: SessionView }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const { data: who } = useQuery(whoamiQuery);
  const noRight = mayAct(who, "operator") ? null : NO_RIGHT;
  const act = async (what: string, change: Promise<SessionView>) => {
    try {
      await change;
      toast({ title: `Session ${session.name} is ${what}` });
    } catch (error) {
      toastError(`Session ${session.name} is not ${what}`, error);
    }
    await client.invalidateQueries({ queryKey: sessionsQuery.queryKey });
  };
  const open = () => {
    const range = fixedRange(session.started_at, session.stopped_at ?? Date.now() / 1000);
    const clients = session.clients.length > 0 ? `&client=${session.clients.join(",")}` : "";
    void navigate(`/profiler?range=${timeRangeText(range)}${clients}`);
  };
  return (
    <span className={css.rowActions}>
      <Button kind="ghost" label={`Show the charts of ${session.name}`} onClick={open}>
        <ChartLine size={14} aria-hidden />
      </Button>
      <Menu
        trigger={
          <Button kind="ghost" label={`Export ${session.name}`}>
            <Download size={14} aria-hidden />
          </Button>
        }
        entries={EXPORTS.map((format) => ({
          label:
            format === "html"
              ? "Report (HTML)"
              : `Samples as ${format === "parquet" ? "Parquet" : format.toUpperCase()}`,
          onSelect: () => window.location.assign(exportAddress(session.name, format)),
        }))}
      />
      <Button
        kind="ghost"
        label={`Stop ${session.name}`}
        disabledReason={session.state === "stopped" ? "It is stopped already" : noRight}
        onClick={() => void act("stopped", stopSession(session.name))}
      >
        <Square size={14} aria-hidden />
      </Button>
      <Button
        kind="ghost"
        label={`Delete ${session.name}`}
        hint="Forgets the session; its samples stay as long as all others do"
        disabledReason={noRight}
        onClick={() => void act("deleted", deleteSession(session.name))}
      >
        <Trash2 size={14} aria-hidden />
      </Button>
    </span>
  );
}
