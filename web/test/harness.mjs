// What every story shares: one server, one browser, and people who meet. A story waits for the thing itself, with a
// generous deadline; when the deadline passes, it says what was awaited and what happened instead.
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { inflateRawSync } from 'node:zlib';
import { chromium } from 'playwright-core';
import WebSocket from 'ws';

const { SdkSignalFrame } = createRequire(import.meta.url)(
  'amazon-chime-sdk-js/build/signalingprotocol/SignalingProtocol.js',
);
export { SdkSignalFrame };

const at = path => fileURLToPath(new URL(path, import.meta.url));

const AsyncFunction = (async () => {}).constructor;

/** How long a story waits for one thing: far more than it takes, so that a busy machine is not a failure. */
export const DEADLINE_MS = 20_000;


// ---- the server ----------------------------------------------------------------------------------------------

export class Server {
  /** Starts `campanile dev` on free ports with records of its own; `more` are further flags, `via` a command that
   *  runs it somewhere else. */
  static async start({ listen = '127.0.0.1:0', media = '127.0.0.1:0', more = [], via = [] } = {}) {
    const server = new Server();
    server.dataDir = mkdtempSync(join(tmpdir(), 'campanile-test-'));
    server.via = via;
    await server.run(listen, media, more);
    return server;
  }

  /** Starts `campanile serve` on free ports, with these lines as its quotas, and one user who calls its API. */
  static async serving(...quotas) {
    const server = new Server();
    server.dataDir = mkdtempSync(join(tmpdir(), 'campanile-test-'));
    server.via = [];
    Object.assign(server, { access_key_id: 'AKIASTORIES000000000', secret_access_key: randomUUID() });
    const configuration = join(server.dataDir, 'campanile.toml');
    writeFileSync(configuration, [
      'listen = "127.0.0.1:0"', 'media = "127.0.0.1:0"', `data-dir = ${JSON.stringify(join(server.dataDir, 'records'))}`,
      '[quotas]', ...quotas, '[[account]]', 'id = "111122223333"', '[[account.user]]', 'name = "stories"',
      `access-key-id = "${server.access_key_id}"`, `secret-access-key = "${server.secret_access_key}"`,
      'policies = ["AmazonChimeSDK"]',
    ].join('\n'));
    await server.runCommand('serve', '--config', configuration);
    return server;
  }

  run(listen, media, more) {
    this.more = more;
    return this.runCommand('dev', '--listen', listen, '--media', media, '--data-dir', this.dataDir, ...more);
  }

  async runCommand(...given) {
    this.log = [];
    const binary = process.env.CAMPANILE_BIN ?? at('../../target/debug/campanile');
    const command = [...this.via, binary, ...given, '--json'];
    const child = (this.child = spawn(command[0], command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] }));
    child.on('error', error => this.log.push(String(error)));
    const keep = line => {
      this.log.push(line);
      if (this.log.length > 2000) this.log.shift();
    };
    createInterface({ input: child.stderr }).on('line', keep);
    const lines = createInterface({ input: child.stdout });
    const [line] = await Promise.race([
      once(lines, 'line'),
      once(child, 'close').then(() => {
        throw new Error(`${command.join(' ')} ended before it was ready:\n${this.log.join('\n')}`);
      }),
    ]);
    lines.on('line', keep);
    Object.assign(this, JSON.parse(line));
  }

  /** Ends the process in good order and starts another one on the same ports with the same records. */
  async restart() {
    await this.quit();
    await this.runAgain();
  }

  /** Ends the process as the kernel does when it must. */
  async kill() {
    const closed = once(this.child, 'close');
    this.child.kill('SIGKILL');
    await closed;
  }

  /** After an end of whatever kind: another process on the same ports with the same records. */
  async runAgain() {
    await this.run(new URL(this.page).host, new URL(`udp://${this.media}`).host, this.more);
  }

  async demo(verb, body) {
    const response = await fetch(new URL(`/demo/${verb}`, this.page), {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`/demo/${verb} answered ${response.status}: ${text}`);
    return text ? JSON.parse(text) : {};
  }

  invite(meeting, name) { return this.demo('join', { meeting, name }); }
  end(meeting) { return this.demo('end', { meeting }); }
  kick(meeting, attendeeId) { return this.demo('kick', { meeting, attendeeId }); }

  get alive() { return this.child.exitCode === null && this.child.signalCode === null; }

  async quit() {
    if (!this.alive) return;
    const closed = once(this.child, 'close');
    this.child.kill('SIGINT');
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 5000);
    await closed;
    clearTimeout(timer);
  }

  async stop() {
    await this.quit();
    rmSync(this.dataDir, { recursive: true, force: true });
  }
}

/** Serves the tests' own page from loopback, which browsers take for a secure origin. */
function servePage() {
  const files = { '/': ['index.html', 'text/html'], '/app.js': ['app.js', 'text/javascript'] };
  const loaded = Object.entries(files).map(([path, [file, type]]) => [path, readFileSync(at(`../dist-test/${file}`)), type]);
  const server = http.createServer((request, response) => {
    const found = loaded.find(([path]) => path === request.url);
    if (!found) return response.writeHead(404).end();
    response.writeHead(200, { 'content-type': found[2] }).end(found[1]);
  });
  return new Promise(resolve => server.listen(0, '127.0.0.1', () => resolve(server)));
}

// ---- the browser ---------------------------------------------------------------------------------------------

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';

const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--use-fake-ui-for-media-stream',
  '--use-fake-device-for-media-stream', '--autoplay-policy=no-user-gesture-required',
  // Several people live in one browser: none of them may be put to sleep for not being in front.
  '--disable-renderer-backgrounding', '--disable-background-timer-throttling',
  '--disable-backgrounding-occluded-windows',
];

/** `loopback: false` is for the story in which the browser must come over a real network. */
export function launchBrowser({ executablePath = CHROMIUM, loopback = true, env } = {}) {
  const args = loopback ? [...FLAGS, '--allow-loopback-in-peer-connection'] : FLAGS;
  return chromium.launch({ executablePath, headless: true, args, env });
}

// ---- shared by all stories -----------------------------------------------------------------------------------

/** The one server and the one browser that all stories use, from before the first to after the last. */
export const shared = {};

export async function setUp() {
  [shared.server, shared.browser, shared.pages] = await Promise.all([Server.start(), launchBrowser(), servePage()]);
}

export async function tearDown() {
  await shared.browser?.close();
  await shared.server?.stop();
  shared.pages?.close();
  // Connections that the browser kept alive must not hold the process.
  shared.pages?.closeAllConnections();
}

let meetings = 0;

/** A meeting of one story. Everyone still there when the story ends is sent home. */
export class Gathering {
  constructor(t, name = `story-${process.pid}-${++meetings}`) {
    this.name = name;
    this.people = [];
    this.t = t;
    t.after(() => Promise.all(this.people.map(person => person.context.close())));
  }

  /** A person with a page, invited but not yet in; `name` is what others see. */
  async invite(name, invitation, browser = shared.browser) {
    const context = await browser.newContext();
    const person = new Person(name, context, await context.newPage(), this);
    this.people.push(person);
    person.invitation = invitation ?? (await shared.server.invite(this.name, name));
    await person.page.goto(`http://127.0.0.1:${shared.pages.address().port}/`);
    return person;
  }

  /** Invites, starts, and waits until the person is in. */
  async join(name, options = {}) {
    const person = await this.invite(name);
    await person.start(options);
    return person;
  }

  end() { return shared.server.end(this.name); }
  kick(person) { return shared.server.kick(this.name, person.id); }
}

export class Person {
  constructor(name, context, page, gathering) {
    Object.assign(this, { name, context, page, gathering, console: [] });
    page.on('console', message => this.console.push(`${message.type()}: ${message.text()}`));
    page.on('pageerror', error => this.console.push(`uncaught: ${error}`));
  }

  get id() { return this.invitation.Attendee.AttendeeId; }
  get externalUserId() { return this.invitation.Attendee.ExternalUserId; }

  /** Starts the session without waiting for anything. */
  begin(options = {}) {
    return this.page.evaluate(([invitation, options]) => lab.join(invitation, options), [this.invitation, options]);
  }

  async start(options = {}) {
    await this.begin(options);
    await this.until('has started', () => lab.event('started'));
    const ms = await this.ask(() => lab.event('started').at - lab.event('start').at);
    this.gathering.t.diagnostic(`${this.name}: start() to audioVideoDidStart ${Math.round(ms)} ms`);
  }

  /** Runs a function in the page. */
  ask(fn, arg) {
    return this.page.evaluate(fn, arg);
  }

  /** Waits until a function in the page returns something truthy, or a promise of it, and returns that. */
  async until(what, fn, arg, deadlineMs = DEADLINE_MS) {
    const awaited = fn.constructor === AsyncFunction ? this.untilPromised(fn, arg, deadlineMs) : this.untilTrue(fn, arg, deadlineMs);
    const seen = await awaited;
    if (seen) return seen;
    throw new Error(`${this.name}: never saw "${what}" within ${deadlineMs} ms.\n${await this.story()}`);
  }

  async untilTrue(fn, arg, deadlineMs) {
    try {
      const handle = await this.page.waitForFunction(fn, arg, { timeout: deadlineMs, polling: 50 });
      return await handle.jsonValue();
    } catch (error) {
      if (!/Timeout/.test(error.message)) throw error;
      return null;
    }
  }

  /** Playwright's own waiting takes any promise for the truth, whatever it promises. */
  async untilPromised(fn, arg, deadlineMs) {
    const deadline = Date.now() + deadlineMs;
    let seen = null;
    while (!seen && Date.now() < deadline) seen = await this.ask(fn, arg);
    return seen;
  }

  /** What happened to this person so far: for messages of failed stories. */
  async story() {
    const seen = await this.ask(() => {
      const line = ({ at, name, ...more }) => `${Math.round(at)} ${name} ${JSON.stringify(more)}`;
      const wire = lab.frames
        .filter(one => !['CLIENT_METRIC', 'AUDIO_METADATA', 'BITRATES', 'PING_PONG', 'MEETING_SESSION_TIMING'].includes(one.type))
        .map(one => `${Math.round(one.at)}${one.out ? '>' : '<'}${one.type}${one.frame.error ? JSON.stringify(one.frame.error) : ''}`);
      return { events: lab.events.slice(-25).map(line), wire: wire.slice(-25), sockets: lab.sockets.map(one => one.closed) };
    });
    return [
      '  events:', ...seen.events.map(line => `    ${line}`),
      `  frames: ${seen.wire.join(' ')}`,
      `  sockets: ${JSON.stringify(seen.sockets)}`,
      '  console:', ...this.console.slice(-8).map(line => `    ${line.slice(0, 300)}`),
    ].join('\n');
  }

  sees(other) { return this.ask(id => lab.see(id), other.id ?? other); }
  hears(...pitches) { return this.ask(pitches => lab.hear(...pitches), pitches); }

  /** Waits until `pitch` is heard, clearly and at least 40 dB above `own`, one's own voice. A full-scale tone measures
   *  about -8 dB here, so -35 dB is a voice that has filled the window of the analyser. */
  async hearsOnly(pitch, own) {
    const heard = await this.until(
      `hears ${pitch} Hz at least 40 dB above ${own} Hz`,
      ([pitch, own]) => {
        const levels = lab.hear(pitch, own);
        return levels && levels[0] > -35 && levels[0] - levels[1] >= 40 && levels;
      },
      [pitch, own],
    );
    this.gathering.t.diagnostic(`${this.name}: hears ${pitch} Hz at ${heard[0]} dB, own ${own} Hz at ${heard[1]} dB`);
  }

  /** Waits until the tile of `other` shows this colour, within what video coding does to it. */
  seesColour(other, colour, deadlineMs = DEADLINE_MS) {
    return this.until(
      `sees ${colour} on the tile of ${other.name ?? other}`,
      ([id, want]) => {
        const seen = lab.see(id);
        return seen?.rgb && seen.rgb.every((value, index) => Math.abs(value - want[index]) < 40) && seen;
      },
      [other.id ?? other, rgb(colour)],
      deadlineMs,
    );
  }

  /** The answers that the server gave on this page's newest socket, as they came: inflated if need be. */
  async answers() {
    const acks = await this.ask(() => {
      const newest = lab.sockets.length - 1;
      return lab.frames
        .filter(one => !one.out && one.type === 'SUBSCRIBE_ACK' && one.socket === newest)
        .map(({ frame: { suback } }) => ({ plain: suback.sdpAnswer, packed: suback.compressedSdpAnswer && [...suback.compressedSdpAnswer] }));
    });
    let previous = '';
    return acks.map(({ plain, packed }) => {
      // The client inflates with the previous answer as dictionary, and so do we.
      if (packed?.length) {
        const dictionary = Buffer.from(previous.slice(0, 31744));
        previous = inflateRawSync(Buffer.from(packed), dictionary.length ? { dictionary } : {}).toString();
      } else previous = plain;
      return previous;
    });
  }
}

/** `#rrggbb` to its three numbers. */
function rgb(colour) {
  return [1, 3, 5].map(at => parseInt(colour.slice(at, at + 2), 16));
}

/** Colours that survive video coding and cannot be taken for each other. */
export const RED = '#c02020';
export const GREEN = '#20a020';
export const BLUE = '#2040d0';
export const YELLOW = '#c0b020';

/** The sections of an SDP, each with its lines; the first one is the session's. */
export function sections(sdp) {
  return sdp.split(/\r\n(?=m=)/).map(section => section.split('\r\n').filter(Boolean));
}

// ---- the rougher guests --------------------------------------------------------------------------------------

/** A TCP relay whose cable can be cut (the WebSocket ends without a closing word) or pulled for a while. */
export class Relay {
  static async to(target) {
    const relay = new Relay();
    relay.pairs = new Set();
    relay.orphans = new Set();
    relay.gone = false;
    relay.server = net.createServer(inside => {
      const outside = net.connect({ host: target.hostname, port: Number(target.port) });
      const pair = [inside, outside];
      relay.pairs.add(pair);
      if (relay.gone) pair.forEach(socket => socket.pause());
      const drop = () => {
        relay.pairs.delete(pair);
        pair.forEach(socket => socket.destroy());
      };
      for (const socket of pair) socket.on('error', drop).on('close', drop);
      // By hand: a pipe would resume what is paused.
      for (const [from, to] of [pair, [...pair].reverse()]) {
        from.on('data', bytes => to.write(bytes)).on('end', () => to.end());
      }
      if (relay.gone) pair.forEach(socket => socket.pause());
    });
    await new Promise(resolve => relay.server.listen(0, '127.0.0.1', resolve));
    return relay;
  }

  rewrite(url) {
    const through = new URL(url);
    through.host = `127.0.0.1:${this.server.address().port}`;
    return through.href;
  }

  cut() {
    for (const [inside] of this.pairs) inside.destroy();
  }

  /** Nothing passes while it is gone, and nobody is told. */
  setGone(gone) {
    this.gone = gone;
    for (const socket of [...this.pairs].flat()) gone ? socket.pause() : socket.resume();
  }

  /** Ends every WebSocket with this code, in the server's name. */
  closeWith(code) {
    for (const [inside, outside] of this.pairs) {
      outside.removeAllListeners('data');
      // RFC 6455 section 5.5.1: FIN and opcode 8, two bytes of payload.
      inside.write(Buffer.of(0x88, 2, code >> 8, code & 0xff));
    }
  }

  /** The host behind it is gone: whoever is connected hears nothing more, not even an end. Others may connect anew. */
  vanish() {
    for (const pair of this.pairs) {
      for (const socket of pair) socket.removeAllListeners().on('error', () => {}).pause();
      pair[1].destroy();
      this.orphans.add(pair[0]);
    }
    this.pairs.clear();
  }

  /** Another host has taken the address over, and resets the connections that it knows nothing of. */
  takeOver() {
    for (const socket of this.orphans) socket.resetAndDestroy();
    this.orphans.clear();
  }

  close() {
    this.cut();
    this.takeOver();
    this.server.close();
  }
}

/** The same for media: UDP, a socket towards the server for each address of a client. */
export class MediaRelay {
  static async open(port = 0) {
    const relay = new MediaRelay();
    relay.flows = new Map();
    relay.kept = new Set();
    relay.gone = false;
    relay.socket = dgram.createSocket('udp4').on('message', (bytes, from) => relay.pass(bytes, from));
    await once(relay.socket.bind(port, '127.0.0.1'), 'listening');
    return relay;
  }

  /** What a server announces instead of its own address. */
  get address() { return `127.0.0.1:${this.socket.address().port}`; }

  pass(bytes, from) {
    const name = `${from.address}:${from.port}`;
    if (!this.flows.has(name)) {
      const back = answer => this.isGone(name) || this.socket.send(answer, from.port, from.address);
      this.flows.set(name, dgram.createSocket('udp4').on('message', back));
    }
    if (!this.isGone(name)) this.flows.get(name).send(bytes, this.target.port, this.target.hostname);
  }

  isGone(name) { return this.gone && !this.kept.has(name); }

  /** Flows that there are now stay, whatever happens to those of others. */
  keep() { this.kept = new Set(this.flows.keys()); }

  close() {
    for (const flow of this.flows.values()) flow.close();
    this.socket.close();
  }
}

/** The simulator's links between clients and the server (`crates/campanile-sim/examples/network.rs`). */
export class Network {
  static async open() {
    const network = new Network();
    network.clients = 0;
    network.child = spawn(at('../../target/debug/examples/network'), { stdio: ['pipe', 'pipe', 'inherit'] });
    const lines = createInterface({ input: network.child.stdout });
    const [line] = await once(lines, 'line');
    network.address = line.split(' ')[1];
    lines.on('line', line => { if (line.startsWith('client ')) network.clients++; });
    return network;
  }

  order(...words) { this.child.stdin.write(`${words.join(' ')}\n`); }

  /** Where the server listens. */
  to(address) { this.order('to', address); }

  /** The way from the server to a client from now on; clients are counted in the order in which they came. */
  narrow(client, { kbps = 0, queueMs = 400, loss = 0, delayMs = 0 } = {}) {
    this.order('narrow', client, kbps, queueMs, loss, delayMs);
  }

  close() { this.child.stdin.end(); }
}

/** A bare signaling socket, for what no decent client does. */
export class RawSocket {
  constructor(invitation, { token = invitation.Attendee.JoinToken } = {}) {
    const url = `${invitation.Meeting.MediaPlacement.SignalingUrl}?X-Chime-Control-Protocol-Version=3&X-Amzn-Chime-Send-Close-On-Error=1`;
    this.socket = new WebSocket(url, ['_aws_wt_session', token], { perMessageDeflate: false });
    this.frames = [];
    this.opened = new Promise((resolve, reject) => {
      this.socket.once('open', resolve);
      this.socket.once('error', reject);
      this.socket.once('unexpected-response', (_, response) => reject(new Error(`HTTP ${response.statusCode}`)));
    });
    this.opened.catch(() => {});
    this.socket.on('error', () => {});
    this.socket.on('message', bytes => this.frames.push(SdkSignalFrame.toObject(SdkSignalFrame.decode(bytes.subarray(1)), { longs: Number })));
    this.closed = new Promise(resolve => this.socket.once('close', (code, reason) => resolve({ code, reason: reason.toString() })));
  }

  static async open(...given) {
    const raw = new RawSocket(...given);
    await raw.opened;
    return raw;
  }

  send(fields) {
    const frame = SdkSignalFrame.encode(SdkSignalFrame.fromObject({ timestampMs: Date.now(), ...fields })).finish();
    return this.sendBytes(Buffer.concat([Buffer.of(5), frame]));
  }

  sendBytes(bytes) {
    return new Promise(resolve => this.socket.send(bytes, resolve));
  }

  join() {
    return this.send({
      type: SdkSignalFrame.Type.JOIN,
      join: { protocolVersion: 2, flags: 2, audioSessionId: (Math.random() * 2 ** 32) >>> 0, wantsCompressedSdp: false },
    });
  }

  /** The first frame of this type, come or yet to come. */
  async frame(type, deadlineMs = DEADLINE_MS) {
    const number = SdkSignalFrame.Type[type];
    const ofType = () => this.frames.find(frame => frame.type === number);
    const signal = AbortSignal.timeout(deadlineMs);
    while (!ofType()) await once(this.socket, 'message', { signal });
    return ofType();
  }

  /** The close code, within the deadline. */
  async closeCode(deadlineMs = DEADLINE_MS) {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`the socket was not closed within ${deadlineMs} ms`)), deadlineMs);
    });
    try {
      return (await Promise.race([this.closed, late])).code;
    } finally {
      clearTimeout(timer);
    }
  }

  drop() { this.socket.terminate(); }
}
