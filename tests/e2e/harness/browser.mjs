// Debian's Chromium, driven by playwright-core.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { DEADLINE_MS } from './until.mjs';

const TAB = { width: 520, height: 560 };

/** Switches off everything that looks for Google's hosts at each start: these tests run without a network. */
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

export function openBrowser() {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', headless: true, args: FLAGS });
}

/** A tab with a storage of its own, like another person's browser. `problems` gathers what its console complains about. */
export async function openTab(browser, url) {
  const context = await browser.newContext({ viewport: TAB, deviceScaleFactor: 2, reducedMotion: 'reduce' });
  const tab = await context.newPage();
  tab.setDefaultTimeout(DEADLINE_MS);
  tab.problems = [];
  tab.foreign = [];
  tab.on('pageerror', (error) => tab.problems.push(String(error)));
  tab.on('console', (message) => message.type() === 'error' && tab.problems.push(message.text()));
  tab.on('request', (request) => {
    const { hostname, protocol } = new URL(request.url());
    const local = ['127.0.0.1', 'localhost', '[::1]'].includes(hostname) || ['data:', 'blob:'].includes(protocol);
    if (!local) tab.foreign.push(request.url());
  });
  await tab.goto(url);
  return tab;
}

/** The element that the page names so for tests. */
export const part = (tab, name) => tab.locator(`[data-test="${name}"]`).first();

/** One picture of several tabs side by side, into `SCREENSHOT_DIR` if that is set. */
export async function photograph(browser, tabs, name) {
  const directory = process.env.SCREENSHOT_DIR;
  if (!directory) return;
  const pictures = await Promise.all(tabs.map(async (tab) => (await tab.screenshot()).toString('base64')));
  const gap = 16;
  const wall = await browser.newPage({
    viewport: { width: tabs.length * (TAB.width + gap) + gap, height: TAB.height + 2 * gap },
    deviceScaleFactor: 2,
  });
  const images = pictures.map((data) => `<img width="${TAB.width}" src="data:image/png;base64,${data}">`).join('');
  await wall.setContent(
    `<body style="margin:0;padding:${gap}px;display:flex;gap:${gap}px;background:#c8ccd4">${images}</body>`,
  );
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, `${name}.png`), await wall.screenshot());
  await wall.close();
}
