// The browser that all flows are driven with.

import { chromium } from 'playwright-core';

/** Debian's Chromium, or the one that CHROMIUM names. */
export const launch = (...more) =>
  chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      ...more,
      '--no-sandbox', // a container's root may not make one
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
