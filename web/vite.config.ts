// Bundles the web demo so that it works in any folder of any web server.
import { defineConfig } from "vite";

export default defineConfig({
  base: "./",
  build: { target: "es2024", chunkSizeWarningLimit: 2000, assetsInlineLimit: 0 },
});
