/** Short messages in the corner, some with one thing to do about them. */
import { Toast } from "@base-ui/react/toast";
import { X } from "lucide-react";
import { ApiError } from "@/api/client";
import { Button } from "./button";
import css from "./ui.module.css";

const manager = Toast.createToastManager();

interface Message {
  title: string;
  text?: string;
  action?: { label: string; onClick(): void };
  stayMs?: number;
}

export function toast({ title, text, action, stayMs = 6000 }: Message): void {
  const id = manager.add({
    title,
    description: text,
    timeout: stayMs,
    actionProps: action && {
      children: action.label,
      onClick: () => {
        action.onClick();
        manager.close(id);
      },
    },
  });
}

export function toastError(title: string, error: unknown): void {
  const text = error instanceof Error ? error.message : String(error);
  const hint = error instanceof ApiError && error.hint ? ` – ${error.hint}` : "";
  manager.add({ type: "error", title, description: text + hint, timeout: 12_000, priority: "high" });
}

export function Toasts() {
  return (
    <Toast.Provider toastManager={manager} limit={4}>
      <Toast.Portal>
        <Toast.Viewport className={css.toasts}>
          <List />
        </Toast.Viewport>
      </Toast.Portal>
    </Toast.Provider>
  );
}

function List() {
  return Toast.useToastManager().toasts.map((one) => (
    <Toast.Root key={one.id} toast={one} className={css.toast} data-type={one.type}>
      <div>
        <Toast.Title className={css.toastTitle} />
        <Toast.Description className={css.toastText} />
      </div>
      {one.actionProps ? <Toast.Action render={<Button />} /> : <span />}
      <Toast.Close render={<Button kind="ghost" label="Dismiss" />}>
        <X size={14} aria-hidden />
      </Toast.Close>
    </Toast.Root>
  ));
}
