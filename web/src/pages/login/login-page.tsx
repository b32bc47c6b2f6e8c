/** Logging in with a token: a page before anything else, a dialog when a login ends later. */
import { Dialog } from "@base-ui/react/dialog";
import { useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useEffect, useState } from "react";
import { logIn, whoamiQuery } from "@/api/session";
import logo from "@/app/favicon.svg";
import { Button } from "@/ui/button";
import { Field, Input } from "@/ui/field";
import { ErrorNotice } from "@/ui/notice";
import ui from "@/ui/ui.module.css";
import css from "./login.module.css";

export function LoginPage() {
  useEffect(() => {
    document.title = "Log in · gswarm";
  }, []);
  return (
    <main className={css.page}>
      <section className={css.card} aria-labelledby="login-title">
        <img src={logo} alt="" width={36} height={36} />
        <h1 id="login-title">Log in to gswarm</h1>
        <LoginForm />
      </section>
    </main>
  );
}

/** The page behind it stays as it is. */
export function LoginDialog({ open }: { open: boolean }) {
  return (
    <Dialog.Root open={open} disablePointerDismissal>
      <Dialog.Portal>
        <Dialog.Backdrop className={ui.backdrop} />
        <Dialog.Popup className={ui.dialog}>
          <div className={css.again}>
            <Dialog.Title>Log in again</Dialog.Title>
            <Dialog.Description className="muted">
              The login has ended: its token was revoked or has expired, it was not used for 12 hours, or it is a week
              old. This page goes on where it was.
            </Dialog.Description>
            <LoginForm />
          </div>
        </Dialog.Popup>
      </Dialog.Portal>
    </Dialog.Root>
  );
}

function LoginForm() {
  const client = useQueryClient();
  const [token, setToken] = useState("");
  const [error, setError] = useState<Error | null>(null);
  const [busy, setBusy] = useState(false);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    try {
      client.setQueryData(whoamiQuery.queryKey, await logIn(token));
      void client.invalidateQueries({ predicate: (query) => query.queryKey[0] !== "whoami" });
    } catch (failure) {
      setError(failure as Error);
    } finally {
      setBusy(false);
    }
  };
  return (
    <form className={css.form} onSubmit={submit}>
      {/* Password managers keep a token under the name of its account. */}
      <input hidden readOnly autoComplete="username" name="username" value="gswarm" />
      <Field label="Token">
        <Input
          type="password"
          name="token"
          autoComplete="current-password"
          required
          maxLength={500}
          value={token}
          onChange={(event) => setToken(event.target.value)}
        />
      </Field>
      <Button type="submit" kind="primary" disabledReason={busy ? "The host looks at the token" : null}>
        Log in
      </Button>
      {error && <ErrorNotice error={error} />}
      <p className={css.hint}>
        An administrator makes one with <code>gswarm token create --role operator</code>. On the host's own machine the
        first one is in the file <code>host/admin.token</code> of its data folder.
      </p>
    </form>
  );
}
