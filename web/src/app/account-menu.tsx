/** Who is logged in, the colours, the way out. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Check, LogOut, UserRound } from "lucide-react";
import { logOut, whoamiQuery } from "@/api/session";
import { Button } from "@/ui/button";
import { Menu } from "@/ui/menu";
import { toastError } from "@/ui/toasts";
import css from "./shell.module.css";
import { setTheme, type ThemeChoice, useThemeChoice } from "./theme";

const THEMES: readonly { value: ThemeChoice; label: string }[] = [
  { value: "system", label: "Colours of the system" },
  { value: "light", label: "Light" },
  { value: "dark", label: "Dark" },
];

export function AccountMenu() {
  const client = useQueryClient();
  const { data: who } = useQuery(whoamiQuery);
  const theme = useThemeChoice();
  const leave = () =>
    logOut().then(
      () => window.location.assign("/"),
      (error: unknown) => toastError("Could not log out", error),
    );
  return (
    <Menu
      trigger={
        <Button kind="ghost" aria-label={`Account, ${who?.role ?? "logged out"}`}>
          <UserRound size={16} aria-hidden />
          <span className={css.role}>{who?.role}</span>
        </Button>
      }
      head={who && <div className={css.menuHead}>{`Token ${who.token_id}, ${who.role}`}</div>}
      entries={[
        ...THEMES.map(({ value, label }) => ({
          label: (
            <>
              <span className={css.tick}>{theme === value && <Check size={14} aria-label="chosen" />}</span>
              {label}
            </>
          ),
          onSelect: () => setTheme(value),
        })),
        {
          label: (
            <>
              <span className={css.tick}>
                <LogOut size={14} aria-hidden />
              </span>
              Log out
            </>
          ),
          onSelect: () => {
            client.cancelQueries();
            void leave();
          },
        },
      ]}
    />
  );
}
