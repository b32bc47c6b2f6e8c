import { fileURLToPath } from "node:url";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// The host serves what is built here. `npm run dev` is for work on the page itself, beside a host on its usual port.
const host = process.env.GSWARM_HTTP ?? "http://127.0.0.1:8091";

export default defineConfig({
  plugins: [react()],
  resolve: { alias: { "@": fileURLToPath(new URL("src", import.meta.url)) } },
  build: {
    outDir: "../src/gswarm/host/web_dist",
    emptyOutDir: true,
    // The host's policy knows no data: addresses.
    assetsInlineLimit: 0,
    target: "es2022",
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    chunkSizeWarningLimit: 700,
  },
  server: { host: "127.0.0.1", proxy: { "/api": { target: host, changeOrigin: true } } },
  test: { include: ["src/**/*.test.ts"], environment: "node" },
});
