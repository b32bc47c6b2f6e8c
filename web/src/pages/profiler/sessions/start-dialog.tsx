import { type FormEvent, useState } from "react";
import { useQueryClient } from "@tanstack/react-query";
import { sessionsQuery, startSession } from "@/api/profiler-sessions";
import { Button } from "@/ui/button";
import { Dialog } from "@/ui/dialog";
import { Field, Input } from "@/ui/field";
import { toast, toastError } from "@/ui/toasts";
import css from "../profiler.module.css";
import { wrongWish } from "./session-model";

interface StartDialogProps {
  taken: readonly string[];
  onClose(): void;
}

export function StartDialog({ taken, onClose }: StartDialogProps) {
  const client = useQueryClient();
  const [name, setName] = useState("");
  const [interval, setInterval] = useState("1");
  const wrong = wrongWish(name, interval, taken);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (wrong !== null) return;
    try {
      await startSession(name, Number(interval));
      toast({ title: `Session ${name} has begun` });
      onClose();
    } catch (error) {
      toastError("The session did not begin", error);
    }
    await client.invalidateQueries({ queryKey: sessionsQuery.queryKey });
  };
  return (
    <Dialog
      open
      onClose={onClose}
      title="Start a session"
      note="A named range of time that begins now. Clients sample at its interval until it is stopped."
      foot={
        <Button type="submit" form="start-session" kind="primary" disabledReason={wrong}>
          Start
        </Button>
      }
    >
      <form id="start-session" className={css.form} onSubmit={submit}>
        <Field label="Name">
          <Input value={name} onChange={(event) => setName(event.target.value)} autoComplete="off" />
        </Field>
        <Field label="Interval, seconds">
          <Input inputMode="decimal" value={interval} onChange={(event) => setInterval(event.target.value)} />
        </Field>
      </form>
    </Dialog>
  );
}
