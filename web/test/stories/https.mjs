// A browser on another machine (another network namespace) comes by https to an address that is not loopback, and
// trusts the server through its local certificate authority; no flag calls anything secure that is not.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { launchBrowser, Server } from '../harness.mjs';
import { Visitor } from '../visitor.mjs';

const NAMESPACE = `campanile${process.pid}`;
const OUTSIDE = `cv${process.pid % 100000}a`;
const INSIDE = `cv${process.pid % 100000}b`;
const SERVER_IP = '10.213.77.1';
const BROWSER_IP = '10.213.77.2';

const run = (command, ...args) => execFileSync(command, args, { stdio: ['ignore', 'pipe', 'pipe'] }).toString();

/** Why this story cannot run here, or null. */
function missing() {
  if (process.getuid() !== 0) return 'network namespaces need root';
  for (const [tool, pack, probe] of [['ip', 'iproute2', '-V'], ['certutil', 'libnss3-tools', '-H']]) {
    if (spawnSync(tool, [probe]).error) return `${tool} is not installed (Debian package ${pack})`;
  }
  const made = spawnSync('ip', ['netns', 'add', NAMESPACE]);
  if (made.status !== 0) return `no network namespace can be made here: ${made.stderr.toString().trim()}`;
  return null;
}

test('a browser on another host joins over https and wss with the local CA', { timeout: 120_000 }, async t => {
  const reason = missing();
  if (reason) return t.skip(reason);
  t.after(() => {
    spawnSync('ip', ['link', 'del', OUTSIDE]);
    spawnSync('ip', ['netns', 'del', NAMESPACE]);
  });
  run('ip', 'link', 'add', OUTSIDE, 'type', 'veth', 'peer', 'name', INSIDE);
  run('ip', 'link', 'set', INSIDE, 'netns', NAMESPACE);
  run('ip', 'addr', 'add', `${SERVER_IP}/24`, 'dev', OUTSIDE);
  run('ip', 'link', 'set', OUTSIDE, 'up');
  run('ip', '-n', NAMESPACE, 'addr', 'add', `${BROWSER_IP}/24`, 'dev', INSIDE);
  run('ip', '-n', NAMESPACE, 'link', 'set', INSIDE, 'up');
  run('ip', '-n', NAMESPACE, 'link', 'set', 'lo', 'up');
  run('ip', '-n', NAMESPACE, 'route', 'add', 'default', 'via', SERVER_IP);

  const server = await Server.start({
    listen: `${SERVER_IP}:0`,
    media: `${SERVER_IP}:0`,
    more: ['--tls-local', '--public-address', SERVER_IP],
  });
  t.after(() => server.stop());
  assert.match(server.page, new RegExp(`^https://${SERVER_IP}:`));

  // The one thing that a user does by hand: trust the server's certificate authority.
  const home = mkdtempSync(join(tmpdir(), 'campanile-home-'));
  t.after(() => rmSync(home, { recursive: true, force: true }));
  const database = join(home, '.pki', 'nssdb');
  mkdirSync(database, { recursive: true });
  run('certutil', '-d', `sql:${database}`, '-N', '--empty-password');
  run('certutil', '-d', `sql:${database}`, '-A', '-t', 'C,,', '-n', 'campanile', '-i', server.ca);

  const browserInNamespace = join(home, 'chromium');
  const chromium = process.env.CHROMIUM ?? '/usr/bin/chromium';
  writeFileSync(browserInNamespace, `#!/bin/sh\nexec ip netns exec ${NAMESPACE} ${chromium} "$@"\n`);
  chmodSync(browserInNamespace, 0o755);
  const browser = await launchBrowser({
    executablePath: browserInNamespace,
    loopback: false,
    env: { ...process.env, HOME: home, XDG_CONFIG_HOME: join(home, '.config'), XDG_DATA_HOME: join(home, '.local', 'share') },
  });
  t.after(() => browser.close());

  const name = `https-${process.pid}`;
  const ann = await Visitor.at(t, 'Ann', { server, browser });
  const bob = await Visitor.at(t, 'Bob', { server, browser });
  await ann.open();
  const origin = await ann.page.evaluate(() => ({
    secure: isSecureContext,
    devices: Boolean(navigator.mediaDevices),
    protocol: location.protocol,
    host: location.hostname,
  }));
  assert.deepEqual(origin, { secure: true, devices: true, protocol: 'https:', host: SERVER_IP });
  await ann.joins(name);
  await bob.joins(name);
  await ann.picture(ann.tile('Bob'));
  await bob.picture(bob.tile('Ann'));
});
