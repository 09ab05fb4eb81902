// Firefox as it comes, driven by WebDriver BiDi (https://w3c.github.io/webdriver-bidi/), which it speaks by itself. Only
// what a person of these stories does to a page, by the names that Playwright's pages have.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import WebSocket from 'ws';

/** How long it may take to start, on a busy machine, and to answer. */
const START_MS = 60_000;
const ANSWER_MS = 30_000;

/** Where Firefox is; undefined where it is not installed. */
export const FIREFOX = process.env.FIREFOX ?? ['/usr/bin/firefox-esr', '/usr/bin/firefox'].find(existsSync);

/** What its microphone hears. */
export const FAKE_VOICE_HZ = 1130;

const PREFERENCES = {
  // What Chromium's flags say: no questions, no waiting for a click before sound.
  'media.navigator.permission.disabled': true,
  'media.navigator.streams.fake': true,
  'media.navigator.audio.fake_frequency': FAKE_VOICE_HZ,
  'media.autoplay.default': 0,
  'media.autoplay.blocking_policy': 0,
  'media.autoplay.block-webaudio': false,
  'media.peerconnection.ice.obfuscate_host_addresses': false,
  // Nobody is put to sleep for not being in front.
  'dom.min_background_timeout_value': 4,
  'dom.timeout.enable_budget_timer_throttling': false,
  'datareporting.policy.dataSubmissionEnabled': false,
  'app.update.auto': false,
  'browser.shell.checkDefaultBrowser': false,
};

export class Firefox {
  static async launch() {
    const firefox = new Firefox();
    firefox.profile = mkdtempSync(join(tmpdir(), 'campanile-firefox-'));
    const lines = Object.entries(PREFERENCES).map(([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});`);
    writeFileSync(join(firefox.profile, 'user.js'), lines.join('\n'));
    firefox.child = spawn(FIREFOX, ['--headless', '--no-remote', '--profile', firefox.profile, '--remote-debugging-port', '0'], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    firefox.answers = new Map();
    firefox.pages = new Map();
    firefox.asked = 0;
    const said = [];
    const listening = new Promise((resolve, reject) => {
      createInterface({ input: firefox.child.stderr }).on('line', line => {
        said.push(line);
        const [, address] = line.match(/WebDriver BiDi listening on (ws:\S+)/) ?? [];
        if (address) resolve(address);
      });
      firefox.child.on('error', reject);
      firefox.child.on('close', () => reject(new Error(`Firefox ended:\n${said.slice(-10).join('\n')}`)));
      setTimeout(() => reject(new Error(`Firefox was not ready within ${START_MS} ms:\n${said.slice(-10).join('\n')}`)), START_MS).unref();
    });
    firefox.socket = new WebSocket(`${await listening}/session`);
    firefox.socket.on('message', bytes => firefox.take(JSON.parse(bytes)));
    firefox.socket.on('close', () => firefox.giveUp());
    await once(firefox.socket, 'open');
    await firefox.send('session.new', { capabilities: {} });
    await firefox.send('session.subscribe', { events: ['log.entryAdded'] });
    return firefox;
  }

  take({ type, id, result, error, message, params }) {
    if (type === 'event') {
      this.pages.get(params.source?.context)?.say(params);
      return;
    }
    const { resolve, reject, timer } = this.answers.get(id) ?? {};
    if (!resolve) return; // given up
    clearTimeout(timer);
    this.answers.delete(id);
    if (type === 'error') reject(new Error(`${error}: ${message}`));
    else resolve(result);
  }

  send(method, params) {
    const id = ++this.asked;
    this.socket.send(JSON.stringify({ id, method, params }));
    return new Promise((resolve, reject) => {
      const late = () => this.answers.delete(id) && reject(new Error(`Firefox did not answer within ${ANSWER_MS} ms: ${JSON.stringify(params).slice(0, 300)}`));
      const timer = setTimeout(late, ANSWER_MS);
      this.answers.set(id, { resolve, reject, timer });
    });
  }

  /** Nothing that was asked will be answered any more. */
  giveUp() {
    for (const { reject, timer } of this.answers.values()) {
      clearTimeout(timer);
      reject(new Error('Firefox is gone'));
    }
    this.answers.clear();
  }

  /** Someone's own window, with cookies and storage of its own. */
  async newContext() {
    const { userContext } = await this.send('browser.createUserContext', {});
    return {
      newPage: async () => {
        const { context } = await this.send('browsingContext.create', { type: 'window', userContext });
        const page = new Page(this, context);
        this.pages.set(context, page);
        return page;
      },
      close: () => this.send('browser.removeUserContext', { userContext }),
    };
  }

  async close() {
    const closed = once(this.child, 'close');
    this.child.kill('SIGTERM');
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 5000);
    await closed;
    clearTimeout(timer);
    rmSync(this.profile, { recursive: true, force: true });
  }
}

class Page {
  constructor(firefox, context) {
    Object.assign(this, { firefox, context, listeners: [] });
  }

  /** Only what the console says is told: uncaught errors stand there too. */
  on(event, listener) {
    if (event === 'console') this.listeners.push(listener);
  }

  say({ level, text }) {
    for (const listener of this.listeners) listener({ type: () => level, text: () => text });
  }

  goto(url) {
    return this.firefox.send('browsingContext.navigate', { context: this.context, url, wait: 'complete' });
  }

  /** Arguments and results go over as JSON. */
  async evaluate(fn, arg) {
    const { result, exceptionDetails } = await this.firefox.send('script.evaluate', {
      expression: `(async () => JSON.stringify((await (${fn})(${JSON.stringify(arg)})) ?? null))()`,
      target: { context: this.context },
      awaitPromise: true,
    });
    if (exceptionDetails) throw new Error(exceptionDetails.text);
    return JSON.parse(result.value);
  }

  async waitForFunction(fn, arg, { timeout, polling }) {
    const deadline = Date.now() + timeout;
    while (Date.now() < deadline) {
      const value = await this.evaluate(fn, arg);
      if (value) return { jsonValue: async () => value };
      await new Promise(resolve => setTimeout(resolve, polling));
    }
    throw new Error(`Timeout of ${timeout} ms`);
  }
}
