/** The frame around every page: side bar, connection, account. */
import { Dialog } from "@base-ui/react/dialog";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Menu as MenuIcon } from "lucide-react";
import { useEffect, useState } from "react";
import { NavLink, Outlet, ScrollRestoration, useLocation } from "react-router";
import { whoamiQuery } from "@/api/session";
import { openLink } from "@/live/link";
import { LoginDialog } from "@/pages/login/login-page";
import { Button } from "@/ui/button";
import { StaleNotice } from "@/ui/stale-notice";
import { AccountMenu } from "./account-menu";
import logo from "./favicon.svg";
import { LinkBadge } from "./link-badge";
import { NAV } from "./nav";
import css from "./shell.module.css";

export function Shell() {
  const client = useQueryClient();
  const { data: who } = useQuery(whoamiQuery);
  const account = who?.token_id;
  // One connection a login; it ends with it.
  useEffect(() => (account ? openLink(client) : undefined), [client, account]);
  return (
    <div className={css.shell}>
      <a className={css.skip} href="#main">
        Skip to content
      </a>
      <header className={css.top}>
        <Drawer />
        <NavLink to="/" className={css.brand}>
          <img src={logo} alt="" width={20} height={20} />
          gswarm
        </NavLink>
        <div className={css.topRight}>
          <LinkBadge />
          <AccountMenu />
        </div>
      </header>
      <nav className={css.side} aria-label="Pages">
        <Pages />
      </nav>
      <main id="main" className={css.main} tabIndex={-1}>
        <Outlet />
      </main>
      <StaleNotice />
      <ScrollRestoration />
      <LoginDialog open={who === null} />
    </div>
  );
}

function Pages() {
  const { pathname } = useLocation();
  return NAV.map(({ to, label, within, icon: Icon }) => (
    <NavLink
      key={to}
      to={to}
      end={to === "/"}
      className={css.link}
      data-within={within !== undefined && pathname.startsWith(within)}
    >
      <Icon size={16} aria-hidden />
      {label}
    </NavLink>
  ));
}

/** The side bar of narrow screens. */
function Drawer() {
  const [open, setOpen] = useState(false);
  const { pathname } = useLocation();
  useEffect(() => setOpen(false), [pathname]);
  return (
    <Dialog.Root open={open} onOpenChange={setOpen}>
      <Dialog.Trigger render={<Button kind="ghost" label="Pages" className={css.burger} />}>
        <MenuIcon size={18} aria-hidden />
      </Dialog.Trigger>
      <Dialog.Portal>
        <Dialog.Backdrop className={css.veil} />
        <Dialog.Popup className={css.drawer}>
          <Dialog.Title className="visually-hidden">Pages</Dialog.Title>
          <Pages />
        </Dialog.Popup>
      </Dialog.Portal>
    </Dialog.Root>
  );
}
