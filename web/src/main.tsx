import { createRoot } from "react-dom/client";
import "uplot/dist/uPlot.min.css";
import "./styles/tokens.css";
import "./styles/base.css";
import { App } from "./app/app";
import { applyTheme } from "./app/theme";

applyTheme();
createRoot(document.getElementById("root") as HTMLElement).render(<App />);
