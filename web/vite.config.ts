import react from '@vitejs/plugin-react'
import { fontFiles } from './scripts/fonts'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  base: '/console/',
  plugins: [fontFiles(), react()],
  build: {
    target: 'es2022',
    // The browsers we serve have had modulepreload for years; the polyfill
    // would be an inline script.
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 1100,
    sourcemap: false,
    manifest: true,
  },
  server: {
    proxy: {
      '/console/api': 'http://127.0.0.1:8092',
      '/v1/data-channel': { target: 'ws://127.0.0.1:8092', ws: true },
    },
  },
  // The timeouts are for a busy machine.
  test: {
    include: ['test/**/*.test.ts'],
    environment: 'node',
    setupFiles: ['test/setup.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
})
