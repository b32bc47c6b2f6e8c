/** Who is logged in, how the page looks, who else may, and how the host fares. */
import { useQuery } from "@tanstack/react-query";
import { whoamiQuery } from "@/api/session";
import { Page } from "@/app/page";
import { setTheme, type ThemeChoice, useThemeChoice } from "@/app/theme";
import { Facts } from "@/ui/facts";
import { Segmented } from "@/ui/field";
import { Panel } from "@/ui/panel";
import { AlertsRules } from "./alert-rules";
import { DisksPanel, HostPanel, JournalPanel } from "./host-panel";
import css from "./settings.module.css";
import { TokensPanel } from "./tokens-panel";

const THEMES: readonly { value: ThemeChoice; label: string }[] = [
  { value: "system", label: "System" },
  { value: "light", label: "Light" },
  { value: "dark", label: "Dark" },
];
const MEANINGS: Readonly<Record<string, string>> = {
  viewer: "viewer: sees everything, changes nothing",
  operator: "operator: submits experiments and steers runs and clients",
  admin: "admin: does everything",
};

export function Component() {
  const { data: who } = useQuery(whoamiQuery);
  const theme = useThemeChoice();
  return (
    <Page title="Settings">
      <div className={css.columns}>
        <div className={css.stack}>
          <Panel title="You">
            <Facts
              facts={[
                ["Token", <span className="mono">{who?.token_id}</span>],
                ["Role", MEANINGS[who?.role ?? ""] ?? who?.role],
                [
                  "Colours",
                  <Segmented key="theme" label="Colours" value={theme} choices={THEMES} onChange={setTheme} />,
                ],
              ]}
            />
          </Panel>
          <AlertsRules />
          <DisksPanel />
        </div>
        <HostPanel />
        <JournalPanel />
      </div>
      <TokensPanel />
    </Page>
  );
}
