/** Puts a text on the clipboard. */
import { Check, Copy } from "lucide-react";
import { useState } from "react";
import { Button } from "./button";
import { toast } from "./toasts";

export function CopyButton({ text, label, plain }: { text: string; label: string; plain?: boolean }) {
  const [isCopied, setCopied] = useState(false);
  const copy = () => {
    // Browsers give pages without https no clipboard; the text can still be chosen by hand.
    const writing = navigator.clipboard ? navigator.clipboard.writeText(text) : Promise.reject(new Error());
    writing.then(
      () => setCopied(true),
      () => toast({ title: "This browser gives the page no clipboard", text: "Choose the text and copy it by hand." }),
    );
  };
  const icon = isCopied ? <Check size={14} aria-hidden /> : <Copy size={14} aria-hidden />;
  return plain ? (
    <Button kind="ghost" label={isCopied ? "Copied" : label} onClick={copy} onBlur={() => setCopied(false)}>
      {icon}
    </Button>
  ) : (
    <Button onClick={copy} onBlur={() => setCopied(false)}>
      {icon}
      {isCopied ? "Copied" : label}
    </Button>
  );
}
