/** Makes a token, and shows it this once. */
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { createToken, type NewTokenView, tokensQuery } from "@/api/tokens";
import { Button } from "@/ui/button";
import { CopyButton } from "@/ui/copy-button";
import { Dialog } from "@/ui/dialog";
import { Field, Input, Segmented } from "@/ui/field";
import { ErrorNotice } from "@/ui/notice";
import css from "./settings.module.css";
import { checkForm, EMPTY_FORM, type TokenForm, type TokenRole } from "./token-rules";

const ROLES: readonly { value: TokenRole; label: string }[] = [
  { value: "viewer", label: "Viewer" },
  { value: "operator", label: "Operator" },
  { value: "admin", label: "Admin" },
  { value: "client", label: "Client" },
];
const MEANINGS: Readonly<Record<TokenRole, string>> = {
  viewer: "Sees everything, changes nothing.",
  operator: "Submits experiments and steers runs and clients.",
  admin: "Does everything: tokens, certificates, the audit log.",
  client: "Lets a machine join the cluster; it opens nothing else.",
};

export function TokenDialog({ open, onClose }: { open: boolean; onClose(): void }) {
  const [made, setMade] = useState<NewTokenView | null>(null);
  const close = () => {
    setMade(null);
    onClose();
  };
  return made ? (
    <MadeToken token={made} open={open} onClose={close} />
  ) : (
    <TokenFormDialog open={open} onClose={close} onMade={setMade} />
  );
}

function TokenFormDialog({
  open,
  onClose,
  onMade,
}: {
  open: boolean;
  onClose(): void;
  onMade(token: NewTokenView): void;
}) {
  const cache = useQueryClient();
  const [form, setForm] = useState<TokenForm>(EMPTY_FORM);
  const [error, setError] = useState<Error | null>(null);
  const [isBusy, setBusy] = useState(false);
  const checked = checkForm(form);
  const problem = "problem" in checked ? checked.problem : null;
  const change = (part: Partial<TokenForm>) => setForm({ ...form, ...part });
  const create = async () => {
    if (!("request" in checked)) return;
    setBusy(true);
    try {
      onMade(await createToken(checked.request));
      setError(null);
      void cache.invalidateQueries({ queryKey: tokensQuery.queryKey });
    } catch (refused) {
      setError(refused as Error);
    } finally {
      setBusy(false);
    }
  };
  return (
    <Dialog
      open={open}
      onClose={onClose}
      title="New token"
      note={MEANINGS[form.role]}
      foot={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" disabledReason={problem ?? (isBusy ? "It is being made" : null)} onClick={create}>
            Create token
          </Button>
        </>
      }
    >
      <form
        className={css.form}
        onSubmit={(event) => {
          event.preventDefault();
          void create();
        }}
      >
        <Segmented label="Role" value={form.role} choices={ROLES} onChange={(role) => change({ role })} />
        <Field label={form.role === "client" ? "Good for (empty: 1 hour)" : "Good for (empty: until it is revoked)"}>
          <Input value={form.ttl} placeholder="12h, 7d" onChange={(event) => change({ ttl: event.target.value })} />
        </Field>
        {form.role === "client" && (
          <>
            <Field label="How many machines may join with it (empty: one)">
              <Input
                inputMode="numeric"
                value={form.uses}
                placeholder="1"
                onChange={(event) => change({ uses: event.target.value })}
              />
            </Field>
            <Field label="Only for the client of this name, also one that is taken (empty: any new name)">
              <Input value={form.client} onChange={(event) => change({ client: event.target.value })} />
            </Field>
          </>
        )}
        <button type="submit" hidden />
        {problem && (
          <p className={css.problem} role="alert">
            {problem}
          </p>
        )}
        {error && <ErrorNotice error={error} />}
      </form>
    </Dialog>
  );
}

function MadeToken({ token, open, onClose }: { token: NewTokenView; open: boolean; onClose(): void }) {
  return (
    <Dialog
      open={open}
      onClose={onClose}
      title={`Token ${token.id}, ${token.role}`}
      note="It is shown this once: the host keeps no copy."
      foot={
        <Button kind="primary" onClick={onClose}>
          Done
        </Button>
      }
    >
      <div className={css.form}>
        <div className={css.secret}>
          <Input
            readOnly
            aria-label="Token"
            className="mono"
            value={token.token}
            onFocus={(event) => event.target.select()}
          />
          <CopyButton text={token.token} label="Copy" />
        </div>
        {token.role === "client" ? (
          <p className="muted">
            On the machine that joins: <code>{`gswarm client connect ${window.location.hostname}:8090 --token …`}</code>
            {", with the port that the host was started with."}
          </p>
        ) : (
          <p className="muted">
            To log in on a command line: <code>{`gswarm login ${window.location.origin}`}</code>
          </p>
        )}
      </div>
    </Dialog>
  );
}
