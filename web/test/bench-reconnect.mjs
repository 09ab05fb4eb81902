// How long what breaks a session is noticed, with the unmodified client: from the break to audioVideoDidStart, and how
// long the other's voice is not heard. `cargo xtask bench reconnect` runs it.
//   node test/bench-reconnect.mjs [--runs N] [--only WORDS] [--json]
import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Gathering, MediaRelay, Relay, Server, setUp, shared, tearDown } from './harness.mjs';

const { values } = parseArgs({ options: { runs: { type: 'string', default: '10' }, only: { type: 'string', default: '' }, json: { type: 'boolean', default: false } } });
const runs = Number(values.runs);
const fewer = Math.ceil(runs / 3);

const HZ = 440;
/** The client tries for two minutes. */
const PATIENCE_MS = 150_000;

/** What a Gathering wants of a test, outside one. */
const endings = [];
const bench = { diagnostic() {}, after: ending => endings.push(ending) };

/** Every way to break, what to do about it, and whether the session has to begin anew. */
const BREAKS = [
  { what: 'TCP cut', runs, reconnects: true, go: ({ relay }) => relay.cut() },
  { what: 'close 4500', runs, reconnects: true, go: ({ relay }) => relay.closeWith(4500) },
  {
    what: 'server killed with -9 and started again',
    runs: fewer,
    reconnects: true,
    async go({ server }) {
      await server.kill();
      await server.runAgain();
    },
  },
  { what: 'host vanished, replaced after 1 s, connections left hanging', runs: fewer, reconnects: true, go: vanished(() => {}) },
  { what: 'host vanished, replaced after 1 s, connections reset', runs: fewer, reconnects: true, go: vanished(relay => relay.takeOver()) },
  { what: 'network gone for 5 s', runs: fewer, reconnects: false, go: outage(5_000) },
  { what: 'network gone for 30 s', runs: fewer, reconnects: true, go: outage(30_000) },
];

/** Of the host that was there nothing is heard any more; after a second another one has its address and its records. */
function vanished(takeOver) {
  return async ({ server, relay, media }) => {
    media.gone = true;
    relay.vanish();
    await server.kill();
    await sleep(1_000);
    await server.runAgain();
    media.gone = false;
    takeOver(relay);
  };
}

function outage(ms) {
  return async ({ relay, media }) => {
    relay.setGone(true);
    media.gone = true;
    await sleep(ms);
    media.gone = false;
    relay.setGone(false);
  };
}

/** In the page: notes each pause of more than 40 ms in the tone. Looked at every 5 ms. */
function listen(hz) {
  window.pauses = [];
  let heardAt = null;
  setInterval(() => {
    if ((lab.hearNow(hz) ?? -160) < -60) return;
    const now = performance.now();
    if (heardAt !== null && now - heardAt > 40) window.pauses.push([heardAt, now]);
    heardAt = now;
  }, 5);
}

async function measure(place, { go, reconnects }) {
  const { guest } = place;
  const before = await guest.ask(() => {
    window.pauses.length = 0;
    return { starts: lab.count('started'), at: performance.now() };
  });
  await go(place);
  if (reconnects) {
    await guest.until('another start', starts => lab.count('started') > starts, before.starts, PATIENCE_MS);
  }
  await guest.until('sound again', hz => lab.hearNow(hz) > -60, HZ, PATIENCE_MS);
  await sleep(1000);
  const { startedAt, pauses } = await guest.ask(() => ({ startedAt: lab.last('started').at, pauses: window.pauses }));
  const silence = Math.max(0, ...pauses.map(([from, to]) => to - from));
  return { started: reconnects ? startedAt - before.at : null, silence };
}

await setUp();
try {
  const media = await MediaRelay.open();
  endings.push(() => media.close());
  const server = await Server.start({ more: ['--media-public', media.address] });
  endings.push(() => server.stop());
  media.target = new URL(`udp://${server.media}`);
  const relay = await Relay.to(new URL(server.page));
  endings.push(() => relay.close());
  const meeting = new Gathering(bench);
  const host = await meeting.invite('host', await server.invite(meeting.name, 'host'));
  await host.start({ tone: HZ });
  media.keep();
  const guest = await meeting.invite('guest', await server.invite(meeting.name, 'guest'));
  await guest.start({ muted: true, signalingUrl: relay.rewrite(guest.invitation.Meeting.MediaPlacement.SignalingUrl) });
  await guest.until('the tone', hz => lab.hearNow(hz) > -60, HZ);
  await guest.ask(listen, HZ);
  const place = { server, relay, media, host, guest };

  const at = (list, share) => {
    const sorted = list.filter(ms => ms !== null).sort((a, b) => a - b);
    return sorted.length ? Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]) : null;
  };
  const results = [];
  for (const one of BREAKS.filter(({ what }) => what.includes(values.only))) {
    const samples = [];
    for (let run = 0; run < one.runs; run++) {
      samples.push(await measure(place, one));
      // The host may have been thrown out too.
      await host.until('is in', () => lab.events.findLast(one => ['started', 'connecting'].includes(one.name)).name === 'started', undefined, PATIENCE_MS);
      await guest.until('the tone', hz => lab.hearNow(hz) > -60, HZ, PATIENCE_MS);
    }
    const of = name => samples.map(sample => sample[name]);
    results.push({
      what: one.what,
      runs: one.runs,
      started_median_ms: at(of('started'), 0.5),
      started_max_ms: at(of('started'), 1),
      silence_median_ms: at(of('silence'), 0.5),
      silence_max_ms: at(of('silence'), 1),
    });
  }
  if (values.json) {
    console.log(JSON.stringify({ cpus: cpus().length, cpu: cpus()[0].model, browser: shared.browser.version(), results }));
  } else {
    const ms = value => (value === null ? 'goes on' : `${value} ms`);
    console.log('| | runs | until started again, median | most | silence, median | most |\n|---|---|---|---|---|---|');
    for (const row of results) {
      console.log(`| ${row.what} | ${row.runs} | ${ms(row.started_median_ms)} | ${ms(row.started_max_ms)} | ${row.silence_median_ms} ms | ${row.silence_max_ms} ms |`);
    }
    console.log(`\nChromium ${shared.browser.version()}, ${cpus().length} cores of ${cpus()[0].model}; server and both pages on the same machine.`);
  }
} finally {
  await Promise.all(endings.map(ending => ending()));
  await tearDown();
}
