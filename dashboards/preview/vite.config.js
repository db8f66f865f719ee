import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vite'

const scrollbars = fileURLToPath(new URL('src/scrollbars.js', import.meta.url))

export default defineConfig({
  base: './',
  logLevel: 'error',
  define: { global: 'globalThis', 'process.env': '({NODE_ENV:"production"})' },
  resolve: { alias: [{ find: /^react-custom-scrollbars-2$/, replacement: scrollbars }] },
  build: { outDir: 'node_modules/.page', emptyOutDir: true, chunkSizeWarningLimit: 20000 },
})
