/** What can be asked of a client, with a question where it hurts. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { type ClientOp, operateClient } from "@/api/client-ops";
import type { ClientView } from "@/api/cluster";
import { mayAct, whoamiQuery } from "@/api/session";
import { plural } from "@/lib/format";
import { Button } from "@/ui/button";
import { Confirm } from "@/ui/confirm";
import { toast, toastError } from "@/ui/toasts";
import { refusalOf } from "./client-rules";

const WORDS: Readonly<Record<ClientOp, { label: string; done: string; question?: string }>> = {
  drain: { label: "Drain", done: "takes no more work" },
  resume: { label: "Resume", done: "takes work again" },
  disconnect: { label: "Disconnect", done: "was asked to leave", question: "Disconnect" },
  revoke: { label: "Revoke", done: "is revoked", question: "Revoke the certificate of" },
};

export function ClientActions({ client }: { client: ClientView }) {
  const cache = useQueryClient();
  const { data: who } = useQuery(whoamiQuery);
  const [asked, setAsked] = useState<ClientOp | null>(null);
  const [busy, setBusy] = useState<ClientOp | null>(null);
  const act = async (op: ClientOp) => {
    setBusy(op);
    try {
      await operateClient(client.name, op);
      toast({ title: `Client ${client.name} ${WORDS[op].done}` });
      void cache.invalidateQueries({ queryKey: ["clients"] });
      void cache.invalidateQueries({ queryKey: ["client", client.name] });
    } catch (error) {
      toastError(`${WORDS[op].label} was refused`, error);
    } finally {
      setBusy(null);
    }
  };
  const button = (op: ClientOp) => (
    <Button
      kind={op === "revoke" ? "danger" : "plain"}
      disabledReason={
        refusalOf(client, op, mayAct(who, "operator"), mayAct(who, "admin")) ?? (busy ? "It is being asked" : null)
      }
      onClick={() => (WORDS[op].question ? setAsked(op) : void act(op))}
    >
      {WORDS[op].label}
    </Button>
  );
  const training = client.slots.filter((slot) => slot.runs.length > 0).length;
  return (
    <>
      {client.state === "draining" ? button("resume") : button("drain")}
      {button("disconnect")}
      {button("revoke")}
      <Confirm
        open={asked !== null}
        title={`${asked ? WORDS[asked].question : ""} ${client.name}?`}
        action={asked ? WORDS[asked].label : ""}
        onClose={() => setAsked(null)}
        onConfirm={() => asked && void act(asked)}
      >
        {asked && consequence(asked, training)}
      </Confirm>
    </>
  );
}

function consequence(op: ClientOp, training: number): ReactNode {
  const trains = training > 0 ? `It trains on ${plural(training, "slot")} now. ` : "";
  return op === "revoke" ? (
    <p>
      {trains}
      It is cut off at once and what it trains since the last checkpoint is lost; its grants go to others. It can come
      back only with a new token for its name.
    </p>
  ) : (
    <p>
      {trains}
      It stops at the next step, hands in what it has, and ends.
    </p>
  );
}
