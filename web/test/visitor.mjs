// Someone before the real page, with pictures of what they see left in a temporary folder (or in CAMPANILE_SHOTS), for
// eyes.
import { mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DEADLINE_MS, shared } from './harness.mjs';

let folder;
export function shots() {
  folder ??= process.env.CAMPANILE_SHOTS ?? mkdtempSync(join(tmpdir(), 'campanile-shots-'));
  mkdirSync(folder, { recursive: true });
  return folder;
}

/** Someone before the real page. `getDisplayMedia` is the one thing replaced: headless browsers have no screen. */
export class Visitor {
  static async at(t, name, { server = shared.server, browser = shared.browser, ...options } = {}) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
    t.after(() => context.close());
    await context.addInitScript(() => {
      if (!navigator.mediaDevices) return;
      navigator.mediaDevices.getDisplayMedia = async () => {
        const canvas = Object.assign(document.createElement('canvas'), { width: 960, height: 540 });
        const pen = canvas.getContext('2d');
        let count = 0;
        const draw = () => {
          pen.fillStyle = '#fdf6e3';
          pen.fillRect(0, 0, 960, 540);
          pen.fillStyle = '#333';
          pen.font = '48px sans-serif';
          pen.fillText(`Slide ${count++}`, 60, 120);
        };
        draw();
        setInterval(draw, 100);
        return canvas.captureStream(10);
      };
    });
    const visitor = new Visitor();
    Object.assign(visitor, { t, name, context, server, page: await context.newPage(), errors: [] });
    visitor.page.setDefaultTimeout(DEADLINE_MS);
    visitor.page.on('pageerror', error => visitor.errors.push(String(error)));
    return visitor;
  }

  async open(query = '') {
    await this.page.goto(new URL(query, this.server.page).href);
  }

  async joins(meeting, { camera = true } = {}) {
    await this.open(`/?meeting=${encodeURIComponent(meeting)}&name=${encodeURIComponent(this.name)}`);
    if (!camera) await this.page.locator('#with-cam').uncheck();
    const asked = Date.now();
    await this.page.getByRole('button', { name: 'Join', exact: true }).click();
    await this.state('joined');
    this.t.diagnostic(`${this.name}: click to joined ${Date.now() - asked} ms`);
  }

  state(state) {
    return this.page.waitForSelector(`body[data-state=${state}]`);
  }

  button(name) {
    return this.page.getByRole('button', { name, exact: true });
  }

  tile(name) {
    return this.page.locator('#tiles .tile', { has: this.page.locator('.name', { hasText: name }) });
  }

  /** Waits until the picture on this tile moves. */
  async picture(locator) {
    const video = await locator.and(this.page.locator('.has-picture')).locator('video').elementHandle();
    await video.evaluate(video => {
      video.framesSeen = 0;
      const onFrame = () => {
        video.framesSeen++;
        video.requestVideoFrameCallback(onFrame);
      };
      video.requestVideoFrameCallback(onFrame);
    });
    await this.page.waitForFunction(video => video.framesSeen > 5, video);
  }

  shot(name) {
    return this.page.screenshot({ path: join(shots(), `${name}.png`) });
  }
}
