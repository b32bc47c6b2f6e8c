/** A modal dialog with a head, a body that scrolls, and a foot of buttons. */
import { Dialog as Base } from "@base-ui/react/dialog";
import { X } from "lucide-react";
import type { ReactNode } from "react";
import { Button } from "./button";
import css from "./ui.module.css";

interface DialogProps {
  open: boolean;
  onClose(): void;
  title: string;
  note?: ReactNode;
  foot?: ReactNode;
  children: ReactNode;
}

export function Dialog({ open, onClose, title, note, foot, children }: DialogProps) {
  return (
    <Base.Root open={open} onOpenChange={(next) => !next && onClose()}>
      <Base.Portal>
        <Base.Backdrop className={css.backdrop} />
        <Base.Popup className={css.dialog}>
          <div className={css.dialogHead}>
            <div>
              <Base.Title>{title}</Base.Title>
              {note && <Base.Description className="muted">{note}</Base.Description>}
            </div>
            <Base.Close render={<Button kind="ghost" label="Close" />}>
              <X size={16} aria-hidden />
            </Base.Close>
          </div>
          <div className={css.dialogBody}>{children}</div>
          {foot && <div className={css.dialogFoot}>{foot}</div>}
        </Base.Popup>
      </Base.Portal>
    </Base.Root>
  );
}
